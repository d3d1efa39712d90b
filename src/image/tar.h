/* tar.h - a strict reader of tar archives that are pushed in as they arrive: ustar, POSIX pax, GNU
 * long names. It knows the format and nothing of trees: what two programs could read differently
 * is refused, what an entry may mean is decided by tree.h. */
#ifndef IMAGE_TAR_H
#define IMAGE_TAR_H

#include <gantry/base/buf.h>
#include <gantry/base/err.h>

#define GT_TAR_BLOCK      512
#define GT_TAR_PATH_MAX   4096
#define GT_TAR_LINK_MAX   4095         /* the longest link the kernel can read */
#define GT_TAR_PAX_MAX    (1u << 20)   /* bytes of one pax header */
#define GT_TAR_XATTRS_MAX 128          /* extended attributes of one entry */
#define GT_TAR_FILE_MAX   (1ull << 62) /* so that sums of sizes can not wrap */

enum gt_tar_type { GT_TAR_FILE, GT_TAR_DIR, GT_TAR_SYMLINK, GT_TAR_HARDLINK, GT_TAR_FIFO };

struct gt_tar_xattr {
	const char *name; /* without the archive's own prefix: "user.x" */
	const void *value;
	size_t len;
};

/* Everything in it is borrowed for the call. */
struct gt_tar_entry {
	enum gt_tar_type type;
	const char *path, *link; /* as written; link is "" when there is none */
	uint32_t mode;           /* permissions alone */
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t size, offset; /* of a file's content in the archive, in bytes */
	const struct gt_tar_xattr *xattrs;
	size_t n_xattrs;
};

typedef int gt_tar_fn(const struct gt_tar_entry *e, void *arg, struct gt_err *err);

/* What a pax header says; the bits of `has` tell which members are meant. */
enum {
	GT_PAX_PATH = 1,
	GT_PAX_LINK = 2,
	GT_PAX_SIZE = 4,
	GT_PAX_UID = 8,
	GT_PAX_GID = 16,
	GT_PAX_MTIME = 32
};

struct gt_pax {
	unsigned has;
	const char *path, *link;
	uint64_t size;
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	struct gt_tar_xattr xattrs[GT_TAR_XATTRS_MAX];
	size_t n_xattrs;
};

/* text is taken apart in place and must outlive *ret; len bytes and a NUL after them. A global
 * header may only set what can honestly be the same for all entries. */
GT_MUST_USE int gt_pax_parse(char *text, size_t len, bool global, struct gt_pax *ret,
			     struct gt_err *err);

enum gt_tar_state { GT_TAR_HEAD, GT_TAR_EXTRA, GT_TAR_DATA, GT_TAR_END };

struct gt_tar {
	gt_tar_fn *fn;
	void *arg;
	enum gt_tar_state state;
	uint64_t at;    /* bytes taken so far */
	uint64_t left;  /* of this entry's content or extra header, without padding */
	uint32_t pad;   /* after it, up to the next block */
	unsigned zeros; /* zero blocks seen at the end */
	char kind;      /* type flag of the extra header that is being collected */
	uint8_t block[GT_TAR_BLOCK];
	size_t filled;                                /* of block */
	struct gt_buf extra;                          /* the extra header that is being collected */
	struct gt_buf pax_text, long_path, long_link; /* wait for their entry */
	bool has_pax, has_path, has_link;
	struct gt_pax pax, global;
};

void gt_tar_init(struct gt_tar *t, gt_tar_fn *fn, void *arg);
void gt_tar_fini(struct gt_tar *t);
/* fn is called for each entry as soon as its header is complete. Slug "image_invalid". */
GT_MUST_USE int gt_tar_feed(struct gt_tar *t, const uint8_t *data, size_t len, struct gt_err *err);
GT_MUST_USE int gt_tar_finish(const struct gt_tar *t, struct gt_err *err);

/* A refusal of the archive: slug "image_invalid", -EBADMSG. */
int gt_image_refuse(struct gt_err *err, const char *fmt, ...) GT_PRINTF(2, 3);
/* A name out of an archive for people: what does not print becomes '?', long ones are cut. */
#define GT_SHOWN_SIZE 120
const char *gt_image_shown(const char *name, char out[GT_SHOWN_SIZE]);

/* ---- tar_head.c: one header block ---- */
struct gt_tar_head {
	char type;
	char path[257], link[101];
	uint64_t size, mode, uid, gid;
	int64_t mtime;
};

GT_MUST_USE int gt_tar_head_parse(const uint8_t block[GT_TAR_BLOCK], struct gt_tar_head *ret,
				  struct gt_err *err);

#endif
