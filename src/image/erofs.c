/* erofs.c - the on-disk format, as the kernel's fs/erofs reads it: a superblock at 1024, one device
 * slot, inodes in slots of 32 bytes, then the blocks of directories. All numbers are little-endian,
 * as this machine is. */
#include "erofs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/base/cleanup.h>

#define BLOCK        512u /* the archive's own, so that contents need no copying */
#define BLOCK_BITS   9
#define SLOT         32u /* inode numbers count these */
#define SUPER_OFFSET 1024u
#define DEVICE_SLOT  9u /* the one after the superblock, in units of 128 bytes */
#define FIRST_INODE  1536u

#define MAGIC            0xE0F5E1E2u
#define COMPAT_MTIME     0x2u
#define INCOMPAT_CHUNKED 0x4u
#define INCOMPAT_DEVICES 0x8u

#define LAYOUT_PLAIN  0u
#define LAYOUT_INLINE 2u
#define LAYOUT_CHUNK  4u
#define EXTENDED      1u
#define CHUNK_INDEXES 0x20u

#define XATTR_USER    1
#define XATTR_TRUSTED 4

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the format is written as it lies in memory"
#endif

struct super {
	uint32_t magic, checksum, feature_compat;
	uint8_t block_bits, ext_slots;
	uint16_t root;
	uint64_t inodes, epoch;
	uint32_t epoch_ns, blocks, meta_block, xattr_block;
	uint8_t uuid[16], volume[16];
	uint32_t feature_incompat;
	uint16_t compression, extra_devices, device_slot;
	uint8_t dir_bits, prefix_count;
	uint32_t prefix_start;
	uint64_t packed;
	uint8_t filter, reserved[23];
};
_Static_assert(sizeof(struct super) == 128, "the superblock's size");

struct device {
	uint8_t tag[64];
	uint32_t blocks, first;
	uint8_t reserved[56];
};
_Static_assert(sizeof(struct device) == 128, "a device slot's size");

struct inode {
	uint16_t format, xattr_count, mode, reserved;
	uint64_t size;
	uint32_t where; /* first block, device number, or form of chunks */
	uint32_t number, uid, gid;
	uint64_t mtime_s;
	uint32_t mtime_ns, links;
	uint8_t reserved2[16];
};
_Static_assert(sizeof(struct inode) == 64, "an extended inode's size");

struct chunk {
	uint16_t high, device;
	uint32_t block;
};

struct dirent {
	uint64_t inode;
	uint16_t name;
	uint8_t type, reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct dirent) == 12, "a directory entry's size");

struct xattr_head {
	uint32_t filter;
	uint8_t shared, reserved[7];
};

struct xattr {
	uint8_t name_len, name_index;
	uint16_t value_len;
};

/* Written front to back, through one buffer. */
struct out {
	int fd;
	uint64_t at;
	size_t len;
	char bytes[64 * 1024];
};

struct writer {
	struct tree *t;
	struct out *out;
	uint64_t inodes_end, blocks; /* blocks so far, of the whole image */
};

/* ---- output ---- */

static int out_flush(struct out *o, struct gt_err *err)
{
	size_t done = 0;

	while (done < o->len) {
		ssize_t n = pwrite(o->fd, o->bytes + done, o->len - done, (off_t)(o->at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gt_err_set(err, n < 0 ? errno : ENOSPC, "storage_full",
					  "write a layer's index: %s",
					  strerror(n < 0 ? errno : ENOSPC));
		done += (size_t)n;
	}
	o->at += o->len;
	o->len = 0;
	return 0;
}

static uint64_t out_at(const struct out *o)
{
	return o->at + o->len;
}

static int out_add(struct out *o, const void *data, size_t len, struct gt_err *err)
{
	const char *from = data;

	while (len > 0) {
		size_t n = GT_MIN(len, sizeof(o->bytes) - o->len);

		if (n == 0) {
			int r = out_flush(o, err);

			if (r < 0)
				return r;
			continue;
		}
		memcpy(o->bytes + o->len, from, n);
		o->len += n;
		from += n;
		len -= n;
	}
	return 0;
}

static int out_fill(struct out *o, uint64_t to, struct gt_err *err)
{
	static const char zeros[BLOCK];
	int r = 0;

	while (r == 0 && out_at(o) < to)
		r = out_add(o, zeros, (size_t)GT_MIN(to - out_at(o), (uint64_t)sizeof(zeros)), err);
	return r;
}

static uint64_t align(uint64_t n, uint64_t to)
{
	return (n + to - 1) / to * to;
}

/* ---- sizes ---- */

static bool is_live(const struct tree_node *n)
{
	return n->names > 0;
}

static size_t xattr_bytes(size_t name_len, size_t value_len)
{
	return (size_t)align(sizeof(struct xattr) + name_len + value_len, 4);
}

static size_t xattrs_size(const struct tree_node *n)
{
	size_t size = 0;

	for (size_t i = 0; i < n->n_xattrs; i++)
		size += xattr_bytes(strlen(n->xattrs[i].name) - strlen("user."), n->xattrs[i].len);
	if (n->opaque && n->kind == TREE_DIR)
		size += xattr_bytes(strlen("overlay.opaque"), 1);
	return size ? size + sizeof(struct xattr_head) : 0;
}

static bool is_inline(const struct tree_node *n)
{
	return n->kind == TREE_SYMLINK &&
	       sizeof(struct inode) + xattrs_size(n) + strlen(n->target) <= BLOCK;
}

static size_t inode_size(const struct tree_node *n)
{
	size_t size = sizeof(struct inode) + xattrs_size(n);

	if (n->kind == TREE_FILE && n->size > 0)
		return (size_t)align(size, sizeof(struct chunk)) + sizeof(struct chunk);
	return is_inline(n) ? size + strlen(n->target) : size;
}

/* ---- directories ---- */

struct dir_block {
	struct writer *w;
	bool write;
	uint64_t n_blocks;
	size_t n, names; /* entries, and bytes of their names */
	struct dirent entries[BLOCK / sizeof(struct dirent)];
	char text[BLOCK];
	uint64_t self, parent;
	bool dots; /* were "." and ".." put among the others? */
};

static uint8_t type_of(enum tree_kind kind)
{
	static const uint8_t types[] = {
		[TREE_FILE] = 1, [TREE_DIR] = 2,      [TREE_SYMLINK] = 7,
		[TREE_FIFO] = 5, [TREE_WHITEOUT] = 3,
	};

	return types[kind];
}

static int dir_flush(struct dir_block *b, struct gt_err *err)
{
	struct out *o = b->w->out;
	uint64_t end = out_at(o) + BLOCK;
	int r;

	if (b->n == 0)
		return 0;
	b->n_blocks++;
	if (b->write) {
		for (size_t i = 0; i < b->n; i++)
			b->entries[i].name = (uint16_t)(b->entries[i].name +
							b->n * sizeof(struct dirent));
		r = out_add(o, b->entries, b->n * sizeof(struct dirent), err);
		if (r == 0)
			r = out_add(o, b->text, b->names, err);
		if (r == 0)
			r = out_fill(o, end, err);
		if (r < 0)
			return r;
	}
	b->n = b->names = 0;
	return 0;
}

static int dir_put(struct dir_block *b, const char *name, uint64_t inode, uint8_t type,
		   struct gt_err *err)
{
	size_t len = strlen(name);
	int r = 0;

	if ((b->n + 1) * sizeof(struct dirent) + b->names + len > BLOCK)
		r = dir_flush(b, err);
	if (r < 0)
		return r;
	b->entries[b->n++] =
		(struct dirent){ .inode = inode, .name = (uint16_t)b->names, .type = type };
	memcpy(b->text + b->names, name, len);
	b->names += len;
	return 0;
}

/* They stand where their bytes sort them. */
static int dir_dots(struct dir_block *b, const char *before, struct gt_err *err)
{
	int r;

	if (b->dots || (before && strcmp(before, ".") < 0))
		return 0;
	b->dots = true;
	r = dir_put(b, ".", b->self, 2, err);
	return r < 0 ? r : dir_put(b, "..", b->parent, 2, err);
}

static int dir_name(struct tree *t, const char *name, uint32_t node, void *arg, struct gt_err *err)
{
	struct dir_block *b = arg;
	int r = dir_dots(b, name, err);

	if (r < 0)
		return r;
	return dir_put(b, name, t->nodes[node].place / SLOT, type_of(t->nodes[node].kind), err);
}

/* Blocks that the directory takes; written too when `write`. */
static int dir_walk(struct writer *w, uint32_t dir, bool write, uint64_t *ret_blocks,
		    struct gt_err *err)
{
	const struct tree_node *n = &w->t->nodes[dir];
	gt_auto(free) struct dir_block *b = gt_alloc(sizeof(*b));
	int r;

	b->w = w;
	b->write = write;
	b->self = n->place / SLOT;
	b->parent = dir == 0 ? b->self : w->t->nodes[n->parent].place / SLOT;
	r = tree_each(w->t, dir, dir_name, b, err);
	if (r == 0)
		r = dir_dots(b, NULL, err);
	if (r == 0)
		r = dir_flush(b, err);
	*ret_blocks = b->n_blocks;
	return r;
}

/* ---- inodes ---- */

/* Where each inode lies. The root is the first: its number has to fit 16 bits. */
static void place_inodes(struct writer *w)
{
	uint64_t at = FIRST_INODE;

	for (uint32_t i = 0; i < w->t->n_nodes; i++) {
		struct tree_node *n = &w->t->nodes[i];
		size_t size = inode_size(n);

		if (!is_live(n))
			continue;
		/* What is inline may not cross a block's end. */
		if (is_inline(n) && at % BLOCK + size > BLOCK)
			at = align(at, BLOCK);
		n->place = at;
		at = align(at + size, SLOT);
	}
	w->inodes_end = align(at, BLOCK);
}

static int put_xattr(struct out *o, uint8_t index, const char *name, const void *value, size_t len,
		     struct gt_err *err)
{
	const struct xattr x = { (uint8_t)strlen(name), index, (uint16_t)len };
	int r = out_add(o, &x, sizeof(x), err);

	if (r == 0)
		r = out_add(o, name, x.name_len, err);
	if (r == 0)
		r = out_add(o, value, len, err);
	return r < 0 ? r : out_fill(o, align(out_at(o), 4), err);
}

static int put_xattrs(struct out *o, const struct tree_node *n, struct gt_err *err)
{
	const struct xattr_head head = { 0 };
	int r = out_add(o, &head, sizeof(head), err);

	for (size_t i = 0; r == 0 && i < n->n_xattrs; i++)
		r = put_xattr(o, XATTR_USER, n->xattrs[i].name + strlen("user."),
			      n->xattrs[i].value, n->xattrs[i].len, err);
	if (r == 0 && n->opaque && n->kind == TREE_DIR)
		r = put_xattr(o, XATTR_TRUSTED, "overlay.opaque", "y", 1, err);
	return r;
}

static mode_t mode_of(const struct tree_node *n)
{
	static const mode_t types[] = {
		[TREE_FILE] = S_IFREG, [TREE_DIR] = S_IFDIR,      [TREE_SYMLINK] = S_IFLNK,
		[TREE_FIFO] = S_IFIFO, [TREE_WHITEOUT] = S_IFCHR,
	};

	return types[n->kind] | (n->kind == TREE_SYMLINK ? 0777 : n->mode);
}

/* One chunk holds any file. */
static unsigned chunk_bits(uint64_t size)
{
	unsigned bits = 0;

	while ((uint64_t)BLOCK << bits < size)
		bits++;
	return bits;
}

static int put_chunk(struct out *o, const struct tree_node *n, struct gt_err *err)
{
	const struct chunk c = { .device = 1, .block = (uint32_t)(n->offset / BLOCK) };
	int r = out_fill(o, align(out_at(o), sizeof(c)), err);

	return r < 0 ? r : out_add(o, &c, sizeof(c), err);
}

static int describe(struct writer *w, uint32_t node, struct inode *ret, struct gt_err *err)
{
	struct tree_node *n = &w->t->nodes[node];
	size_t xattrs = xattrs_size(n);
	uint64_t blocks = 0;
	int r = 0;

	*ret = (struct inode){ .mode = (uint16_t)mode_of(n),
			       .number = (uint32_t)(n->place / SLOT),
			       .uid = n->uid,
			       .gid = n->gid,
			       .mtime_s = (uint64_t)n->mtime_s,
			       .mtime_ns = n->mtime_ns,
			       .links = n->names };
	if (xattrs)
		ret->xattr_count = (uint16_t)(1 + (xattrs - sizeof(struct xattr_head)) / 4);
	ret->format = EXTENDED | LAYOUT_PLAIN << 1;
	if (n->kind == TREE_FILE && n->size > 0) {
		ret->format = EXTENDED | LAYOUT_CHUNK << 1;
		ret->where = CHUNK_INDEXES | chunk_bits(n->size);
		ret->size = n->size;
	} else if (n->kind == TREE_SYMLINK) {
		ret->size = strlen(n->target);
		if (is_inline(n)) {
			ret->format = EXTENDED | LAYOUT_INLINE << 1;
			return 0;
		}
		blocks = align(ret->size, BLOCK) / BLOCK;
	} else if (n->kind == TREE_DIR) {
		ret->links = 2 + tree_subdirs(w->t, node);
		r = dir_walk(w, node, false, &blocks, err);
		ret->size = blocks * BLOCK;
	}
	if (blocks) {
		ret->where = (uint32_t)w->blocks;
		w->blocks += blocks;
	}
	return r;
}

static int put_inode(struct writer *w, uint32_t node, struct gt_err *err)
{
	const struct tree_node *n = &w->t->nodes[node];
	struct inode inode;
	int r = describe(w, node, &inode, err);

	if (r == 0)
		r = out_fill(w->out, n->place, err);
	if (r == 0)
		r = out_add(w->out, &inode, sizeof(inode), err);
	if (r == 0 && inode.xattr_count)
		r = put_xattrs(w->out, n, err);
	if (r == 0 && n->kind == TREE_FILE && n->size > 0)
		r = put_chunk(w->out, n, err);
	if (r == 0 && is_inline(n))
		r = out_add(w->out, n->target, strlen(n->target), err);
	return r;
}

static int put_blocks(struct writer *w, uint32_t node, struct gt_err *err)
{
	const struct tree_node *n = &w->t->nodes[node];
	uint64_t blocks;
	int r;

	if (n->kind == TREE_DIR)
		return dir_walk(w, node, true, &blocks, err);
	if (n->kind != TREE_SYMLINK || is_inline(n))
		return 0;
	r = out_add(w->out, n->target, strlen(n->target), err);
	return r < 0 ? r : out_fill(w->out, align(out_at(w->out), BLOCK), err);
}

/* ---- the whole ---- */

static int put_all(struct writer *w, struct gt_err *err)
{
	struct tree *t = w->t;
	int r = 0;

	place_inodes(w);
	w->blocks = w->inodes_end / BLOCK;
	for (uint32_t i = 0; r == 0 && i < t->n_nodes; i++) {
		if (is_live(&t->nodes[i]))
			r = put_inode(w, i, err);
	}
	if (r == 0)
		r = out_fill(w->out, w->inodes_end, err);
	for (uint32_t i = 0; r == 0 && i < t->n_nodes; i++) {
		if (is_live(&t->nodes[i]))
			r = put_blocks(w, i, err);
	}
	return r < 0 ? r : out_flush(w->out, err);
}

static uint64_t live_nodes(const struct tree *t)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < t->n_nodes; i++)
		n += is_live(&t->nodes[i]);
	return n;
}

/* Last: an index that was cut short has none. */
static int put_super(struct writer *w, uint64_t tar_bytes, struct gt_err *err)
{
	const struct {
		struct super super;
		struct device device;
	} head = {
		.super = {
			.magic = MAGIC,
			.feature_compat = COMPAT_MTIME,
			.block_bits = BLOCK_BITS,
			.root = (uint16_t)(w->t->nodes[0].place / SLOT),
			.inodes = live_nodes(w->t),
			.blocks = (uint32_t)w->blocks,
			.feature_incompat = INCOMPAT_CHUNKED | INCOMPAT_DEVICES,
			.extra_devices = 1,
			.device_slot = DEVICE_SLOT,
		},
		.device = { .tag = "archive", .blocks = (uint32_t)(tar_bytes / BLOCK) },
	};

	if (pwrite(w->out->fd, &head, sizeof(head), SUPER_OFFSET) != (ssize_t)sizeof(head))
		return gt_err_set(err, errno ? errno : ENOSPC, "storage_full",
				  "write a layer's index: %s", strerror(errno ? errno : ENOSPC));
	return 0;
}

int erofs_write(struct tree *t, uint64_t tar_bytes, int fd, uint64_t *ret_bytes, struct gt_err *err)
{
	gt_auto(free) struct out *out = gt_alloc(sizeof(*out));
	struct writer w = { .t = t, .out = out };
	int r;

	out->fd = fd;
	if (tar_bytes / BLOCK > UINT32_MAX)
		return gt_err_set(err, EFBIG, "image_invalid", "the archive is larger than 2 TiB");
	r = out_fill(out, FIRST_INODE, err);
	if (r == 0)
		r = put_all(&w, err);
	if (r == 0)
		r = put_super(&w, tar_bytes, err);
	if (r == 0)
		*ret_bytes = out_at(out);
	return r;
}
