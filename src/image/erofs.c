/* erofs.c - the index written down, little end first, from the front to the back. */
#include "erofs.h"
#include "sink.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC            0xE0F5E1E2u
#define COMPAT_MTIME     0x2u
#define INCOMPAT_CHUNKED 0x4u
#define INCOMPAT_DEVICES 0x8u
#define CHUNK_INDEXES    0x20u
#define EXTENDED         1u

struct super {
	uint32_t magic, checksum, feature_compat;
	uint8_t block_bits, ext_slots;
	uint16_t root;
	uint64_t inodes, epoch;
	uint32_t fixed_nsec, blocks, meta_block, xattr_block;
	uint8_t uuid[16], volume[16];
	uint32_t feature_incompat;
	uint16_t compression, extra_devices, device_slot;
	uint8_t dir_block_bits, reserved[37];
};
_Static_assert(sizeof(struct super) == 128, "as the kernel reads it");

struct device {
	uint8_t tag[64];
	uint32_t blocks, mapped;
	uint8_t reserved[56];
};
_Static_assert(sizeof(struct device) == 128, "as the kernel reads it");

struct inode {
	uint16_t format, xattr_count, mode, reserved;
	uint64_t size;
	uint32_t where, number, uid, gid;
	uint64_t mtime;
	uint32_t mtime_ns, nlink;
	uint8_t reserved2[16];
};
_Static_assert(sizeof(struct inode) == EROFS_INODE_BYTES, "as the kernel reads it");

struct out {
	int fd;
	uint64_t at; /* of the next byte, those in buf included */
	size_t len;
	uint8_t buf[128 * 1024];
};

static int flush(struct out *o, struct gt_err *err)
{
	for (size_t done = 0; done < o->len;) {
		ssize_t n = write(o->fd, o->buf + done, o->len - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return gt_image_write_error(err, n < 0 ? errno : EIO, "index of a layer");
		done += (size_t)n;
	}
	o->len = 0;
	return 0;
}

/* NULL data is zeros. */
static int add(struct out *o, const void *data, uint64_t len, struct gt_err *err)
{
	const uint8_t *p = data;

	while (len > 0) {
		size_t n = (size_t)GT_MIN(len, sizeof(o->buf) - o->len);
		int r;

		if (p) {
			memcpy(o->buf + o->len, p, n);
			p += n;
		} else {
			memset(o->buf + o->len, 0, n);
		}
		o->len += n;
		o->at += n;
		len -= n;
		if (o->len == sizeof(o->buf) && (r = flush(o, err)) < 0)
			return r;
	}
	return 0;
}

static int zeros_to(struct out *o, uint64_t at, struct gt_err *err)
{
	return add(o, NULL, at - o->at, err);
}

static int add_super(struct out *o, const struct gt_erofs_layout *l, uint64_t tar_bytes,
		     const uint8_t id[16], struct gt_err *err)
{
	struct super s = {
		.magic = htole32(MAGIC),
		.feature_compat = htole32(COMPAT_MTIME),
		.block_bits = EROFS_BLOCK_BITS,
		.root = htole16((uint16_t)(l->inodes[0]->place / EROFS_SLOT)),
		.inodes = htole64(l->n),
		.blocks = htole32((uint32_t)(l->end / EROFS_BLOCK)),
		.feature_incompat = htole32(INCOMPAT_CHUNKED | INCOMPAT_DEVICES),
		.extra_devices = htole16(1),
		.device_slot = htole16(EROFS_DEVICE_AT / sizeof(struct device)),
	};
	struct device d = { .blocks = htole32((uint32_t)(tar_bytes / EROFS_BLOCK)) };
	int r;

	memcpy(s.uuid, id, sizeof(s.uuid));
	if ((r = zeros_to(o, EROFS_SUPER_AT, err)) < 0 || (r = add(o, &s, sizeof(s), err)) < 0)
		return r;
	return add(o, &d, sizeof(d), err);
}

static int add_xattrs(struct out *o, const struct gt_tree_inode *i, struct gt_err *err)
{
	int r = i->xattrs ? add(o, NULL, 12, err) : 0; /* none are shared */

	for (const struct gt_tree_xattr *x = i->xattrs; x && r == 0; x = x->next) {
		const char *name = strchr(x->name, '.') + 1;
		size_t len = strlen(name);
		uint8_t head[4] = { (uint8_t)len, gt_starts_with(x->name, "user.") ? 1 : 4,
				    (uint8_t)x->len, (uint8_t)(x->len >> 8) };

		if ((r = add(o, head, sizeof(head), err)) < 0 || (r = add(o, name, len, err)) < 0 ||
		    (r = add(o, x->value, x->len, err)) < 0)
			return r;
		r = add(o, NULL, -(len + x->len) & 3, err);
	}
	return r;
}

static uint8_t dirent_type(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return 1;
	case S_IFDIR:
		return 2;
	case S_IFCHR:
		return 3;
	case S_IFIFO:
		return 5;
	default:
		return 7;
	}
}

/* Blocks of names: fixed entries first, the names they point to behind. */
static int add_dir(struct out *o, const struct gt_tree_inode *dir, struct gt_err *err)
{
	struct gt_erofs_cursor c = { .dir = dir };
	struct gt_erofs_name names[EROFS_BLOCK_NAMES];
	uint64_t end = o->at + dir->size;
	size_t bytes;
	unsigned n;
	int r = 0;

	while (r == 0 && (n = gt_erofs_block_names(&c, names, &bytes)) > 0) {
		uint8_t block[EROFS_BLOCK] = { 0 };
		size_t text = n * EROFS_DIRENT;

		for (unsigned k = 0; k < n; k++) {
			uint64_t nid = htole64(names[k].inode->place / EROFS_SLOT);
			uint16_t off = htole16((uint16_t)text);
			uint8_t *entry = block + k * EROFS_DIRENT;
			size_t len = strlen(names[k].name);

			memcpy(entry, &nid, sizeof(nid));
			memcpy(entry + 8, &off, sizeof(off));
			entry[10] = dirent_type(names[k].inode->mode);
			memcpy(block + text, names[k].name, len);
			text += len;
		}
		r = add(o, block, GT_MIN(EROFS_BLOCK, end - o->at), err);
	}
	return r;
}

static int add_content(struct out *o, const struct gt_tree_inode *i, struct gt_err *err)
{
	return S_ISDIR(i->mode) ? add_dir(o, i, err) : add(o, i->target, i->size, err);
}

/* The least power of two of blocks that holds the whole file: one extent. */
static unsigned chunk_bits(uint64_t size)
{
	unsigned bits = 0;

	while (((uint64_t)EROFS_BLOCK << bits) < size)
		bits++;
	return bits;
}

static uint32_t links(const struct gt_tree_inode *i)
{
	uint32_t n = 2;

	if (!S_ISDIR(i->mode))
		return i->nlink;
	for (uint32_t k = 0; k < i->n_names; k++)
		n += S_ISDIR(i->names[k]->inode->mode);
	return n;
}

static int add_inode(struct out *o, const struct gt_tree_inode *i, uint32_t number,
		     uint64_t inodes_end, struct gt_err *err)
{
	size_t xattrs = gt_erofs_xattr_bytes(i);
	bool extent = S_ISREG(i->mode) && i->size;
	bool beside = i->data_at && i->data_at < inodes_end;
	unsigned layout = extent   ? EROFS_CHUNK_BASED
			  : beside ? EROFS_FLAT_INLINE
				   : EROFS_FLAT_PLAIN;
	uint32_t where = extent   ? CHUNK_INDEXES | chunk_bits(i->size)
			 : beside ? 0
				  : (uint32_t)(i->data_at / EROFS_BLOCK);
	struct inode d = {
		.format = htole16((uint16_t)(EXTENDED | layout << 1)),
		.xattr_count = htole16((uint16_t)(xattrs ? (xattrs - 12) / 4 + 1 : 0)),
		.mode = htole16((uint16_t)i->mode),
		.size = htole64(i->size),
		.where = htole32(where),
		.number = htole32(number),
		.uid = htole32(i->uid),
		.gid = htole32(i->gid),
		.mtime = htole64((uint64_t)i->mtime),
		.mtime_ns = htole32(i->mtime_ns),
		.nlink = htole32(links(i)),
	};
	int r;

	if ((r = zeros_to(o, i->place, err)) < 0 || (r = add(o, &d, sizeof(d), err)) < 0 ||
	    (r = add_xattrs(o, i, err)) < 0)
		return r;
	if (beside)
		return add_content(o, i, err);
	if (!extent)
		return 0;
	uint32_t chunk[2] = { htole32(1u << 16), /* device 1 */
			      htole32((uint32_t)(i->offset / EROFS_BLOCK)) };

	if ((r = zeros_to(o, (o->at + 7) & ~7ull, err)) < 0)
		return r;
	return add(o, chunk, sizeof(chunk), err);
}

static int add_all(struct out *o, const struct gt_erofs_layout *l, struct gt_err *err)
{
	int r = 0;

	for (size_t k = 0; k < l->n && r == 0; k++)
		r = add_inode(o, l->inodes[k], (uint32_t)k + 1, l->inodes_end, err);
	if (r < 0)
		return r;
	for (size_t k = 0; k < l->n && r == 0; k++) {
		const struct gt_tree_inode *i = l->inodes[k];

		if (i->data_at < l->inodes_end)
			continue;
		if ((r = zeros_to(o, i->data_at, err)) == 0)
			r = add_content(o, i, err);
	}
	return r < 0 ? r : zeros_to(o, l->end, err);
}

int gt_erofs_write(struct gt_tree *t, uint64_t tar_bytes, const uint8_t id[16], int fd,
		   uint64_t *ret_bytes, struct gt_err *err)
{
	struct gt_erofs_layout l = { 0 };
	gt_auto(free) struct out *o = gt_alloc(sizeof(*o));
	int r;

	o->fd = fd;
	if ((r = gt_erofs_layout(t, &l, err)) < 0)
		return r;
	if ((r = add_super(o, &l, tar_bytes, id, err)) == 0 && (r = add_all(o, &l, err)) == 0 &&
	    (r = flush(o, err)) == 0)
		*ret_bytes = l.end;
	free(l.inodes);
	return r;
}
