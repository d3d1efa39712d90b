/* image/worker.h - the process that touches what comes from registries: it downloads, unpacks and
 * checks, as a user without rights, and can write in one directory alone. The agent orders over a
 * packet socket and takes over what is complete; the worker ends with the socket.
 *
 *	agent -> worker   RESOLVE, PULL, IMPORT id text; CANCEL id; KEPT name; SWEEP
 *	worker -> agent   PROGRESS id; LAYER name, answered by KEPT; SYNCED name;
 *	                  DONE id with the record in `file`, or FAILED id
 *
 * Both ends are one program, so structs go over the wire as they are. */
#ifndef GANTRY_IMAGE_WORKER_H
#define GANTRY_IMAGE_WORKER_H

#include <sys/types.h>

#include <gantry/base/err.h>
#include <gantry/model/image.h>

#define GT_IMAGE_TRASH  "trash-"  /* files of the work directory that nobody wants any more */
#define GT_IMAGE_UPLOAD "upload-" /* and those that a client is sending */

enum gt_image_op {
	GT_IMAGE_RESOLVE = 1, /* text: a reference; only the record is wanted */
	GT_IMAGE_PULL,        /* the same, with all layers */
	GT_IMAGE_IMPORT,      /* text: digest of an archive, uploaded into the file `name` */
	GT_IMAGE_CANCEL,
	GT_IMAGE_KEPT,  /* the layer was taken over (code 0) or could not be */
	GT_IMAGE_SWEEP, /* remove what was thrown away */
};

struct gt_image_order {
	uint32_t op, id;
	int32_t code;
	char name[GT_REF_DIGEST_SIZE]; /* KEPT: diff id; IMPORT: a file of the work directory */
	char text[GT_REF_TEXT_SIZE];
};

enum gt_image_word {
	GT_IMAGE_PROGRESS = 1,
	GT_IMAGE_LAYER,  /* files `file`.tar and `file`.erofs are the layer `name` */
	GT_IMAGE_SYNCED, /* and are on the disk by now */
	GT_IMAGE_DONE,
	GT_IMAGE_FAILED,
};

struct gt_image_event {
	uint32_t word, id;
	struct gt_pull_progress pull; /* of PROGRESS */
	int32_t code;                 /* positive errno of FAILED */
	char name[GT_REF_DIGEST_SIZE];
	char file[32];
	char slug[40];
	char text[600];
};

struct gt_image_worker_config {
	int dir_fd;    /* its work directory, which the user owns; emptied at the start */
	int layers_fd; /* where complete layers are: <hex>.tar and <hex>.erofs; only read */
	uid_t uid;
	gid_t gid;
	const char *docker_config;   /* text, or NULL */
	const char *const *insecure; /* NULL-terminated, or NULL */
	const char *ca_file;
	uint64_t layer_bytes; /* most of one layer, uncompressed; 0 = the default */
};

/* Starts the process from a single-threaded one; it dies with its parent. *ret_socket is our end.
 */
GT_MUST_USE int gt_image_worker_start(const struct gt_image_worker_config *config, pid_t *ret_pid,
				      int *ret_pidfd, int *ret_socket, struct gt_err *err);

#endif
