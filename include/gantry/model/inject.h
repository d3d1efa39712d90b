/* model/inject.h - what a container gets beside its image: device nodes, read-only files of the
 * node, and what of the node's devices it can see. Filled by who knows the devices (gpu, or a
 * document of CDI), carried out by the runtime. A list of facts; nothing here opens or makes
 * anything, but the descriptors of binds are its own. */
#ifndef GANTRY_MODEL_INJECT_H
#define GANTRY_MODEL_INJECT_H

#include <gantry/base/cleanup.h>
#include <gantry/base/err.h>

#define GT_INJECT_NODES_MAX 96
#define GT_INJECT_BINDS_MAX 64 /* all of them, layers and volumes fit one packet */
#define GT_INJECT_LINKS_MAX 128
#define GT_INJECT_TEXTS_MAX 64
#define GT_INJECT_TEXT_MAX  16384 /* bytes of one */
#define GT_INJECT_HIDES_MAX 64
#define GT_INJECT_ENV_MAX   64
#define GT_INJECT_DIRS_MAX  16
#define GT_INJECT_PATH_MAX  255

/* A character or block device below /dev. Every process of the container may open it. */
struct gt_inject_node {
	char path[GT_INJECT_PATH_MAX + 1]; /* "/dev/nvidia0" */
	char type;                         /* 'c' or 'b' */
	bool read, write;
	uint32_t major, minor;
};

/* A file, directory or socket of the node, mounted read-only. */
struct gt_inject_bind {
	char path[GT_INJECT_PATH_MAX + 1]; /* in the container */
	int fd;                            /* O_PATH, on the node */
};

/* A symbolic link; a file or link of the image in its place makes room. */
struct gt_inject_link {
	char path[GT_INJECT_PATH_MAX + 1], to[GT_INJECT_PATH_MAX + 1];
};

/* A file below the container's /proc/driver, which is otherwise empty. */
struct gt_inject_text {
	char path[GT_INJECT_PATH_MAX + 1]; /* "nvidia/version" */
	char *text;
};

struct gt_inject_env {
	char *name, *value;
};

struct gt_inject {
	struct gt_inject_node *nodes;
	struct gt_inject_bind *binds;
	struct gt_inject_link *links;
	struct gt_inject_text *texts;
	struct gt_inject_env *env; /* these win over the image's and the specification's */
	char **hides;              /* directories below /sys that are shown empty: "devices/..." */
	char **library_dirs;       /* of the container, to be looked into before others */
	char **program_dirs;       /* behind others */
	size_t n_nodes, n_binds, n_links, n_texts, n_env, n_hides, n_library_dirs, n_program_dirs;
};

struct gt_inject *gt_inject_new(void);
void gt_inject_free(struct gt_inject *i); /* with its descriptors; NULL is fine */
/* Each refuses with -E2BIG (slug "device_unavailable") past its bound, and with -EINVAL what is no
 * absolute path without "." and "..", or no path below its place. What is there already, word for
 * word, is not added again; the same path for something else is -EEXIST. */
GT_MUST_USE int gt_inject_node_add(struct gt_inject *i, const struct gt_inject_node *node,
				   struct gt_err *err);
/* fd is taken, also on failure. */
GT_MUST_USE int gt_inject_bind_add(struct gt_inject *i, const char *path, int fd,
				   struct gt_err *err);
GT_MUST_USE int gt_inject_link_add(struct gt_inject *i, const char *path, const char *to,
				   struct gt_err *err);
GT_MUST_USE int gt_inject_text_add(struct gt_inject *i, const char *path, const char *text,
				   struct gt_err *err);
GT_MUST_USE int gt_inject_env_add(struct gt_inject *i, const char *name, const char *value,
				  struct gt_err *err);
GT_MUST_USE int gt_inject_hide_add(struct gt_inject *i, const char *path, struct gt_err *err);
GT_MUST_USE int gt_inject_library_dir_add(struct gt_inject *i, const char *path,
					  struct gt_err *err);
GT_MUST_USE int gt_inject_program_dir_add(struct gt_inject *i, const char *path,
					  struct gt_err *err);

struct gt_spec;
/* Puts the variables into the specification's environment, over those of the same name,
 * library_dirs before its LD_LIBRARY_PATH and program_dirs behind its PATH. Once for a
 * specification. */
void gt_inject_env_apply(const struct gt_inject *i, struct gt_spec *spec);

GT_CLEANUP_TYPE(inject, struct gt_inject *, gt_inject_free)

#endif
