/* erofs_walk.h - reads an index back, by the format's definition and not by the writer's code, and
 * complains about the first thing in it that is not as it must be. Used by unit tests and fuzzing.
 */
#ifndef TESTS_IMAGE_EROFS_WALK_H
#define TESTS_IMAGE_EROFS_WALK_H

#include <endian.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct walk_file {
	const char *path; /* "" is the root */
	uint64_t nid;
	uint32_t mode, uid, gid, nlink, mtime_ns;
	int64_t mtime;
	uint64_t size, offset; /* content of files in the archive */
	const char *target;    /* size bytes, not terminated */
	const uint8_t *xattrs; /* entries as in the index */
	size_t xattr_len;
};

typedef void walk_fn(const struct walk_file *f, void *arg);

struct walk {
	const uint8_t *p;
	size_t len;
	uint64_t tar_blocks, inodes;
	uint8_t *used;    /* a byte for each byte of the index: nothing may lie over another */
	uint32_t *names;  /* by inode number */
	uint32_t *wanted; /* links that its inode speaks of */
	char path[8192];
	walk_fn *fn;
	void *arg;
	const char *wrong;
};

static uint16_t walk_16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t walk_32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t walk_64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

#define WALK_MUST(w, cond)                  \
	do {                                \
		if (!(w)->wrong && !(cond)) \
			(w)->wrong = #cond; \
		if ((w)->wrong)             \
			return;             \
	} while (0)

static void walk_claim(struct walk *w, uint64_t at, uint64_t len)
{
	WALK_MUST(w, at <= w->len && len <= w->len - at);
	for (uint64_t i = 0; i < len; i++) {
		WALK_MUST(w, !w->used[at + i]);
		w->used[at + i] = 1;
	}
}

static void walk_inode(struct walk *w, uint64_t nid, unsigned depth, uint64_t parent, uint8_t type);

static uint8_t walk_type(uint32_t mode)
{
	static const struct {
		uint32_t mode;
		uint8_t type;
	} types[] = {
		{ S_IFREG, 1 }, { S_IFDIR, 2 }, { S_IFCHR, 3 }, { S_IFIFO, 5 }, { S_IFLNK, 7 }
	};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].mode == (mode & S_IFMT))
			return types[i].type;
	return 0;
}

struct walk_dir {
	uint64_t self, parent;
	unsigned depth, dots;
	uint32_t subdirs;
	char last[256];
};

static void walk_name(struct walk *w, struct walk_dir *d, const uint8_t *entry, const char *name,
		      size_t len)
{
	size_t at = strlen(w->path);
	uint64_t nid = walk_64(entry);
	char text[256];

	WALK_MUST(w, len > 0 && len <= 255 && !memchr(name, '/', len));
	memcpy(text, name, len);
	text[len] = '\0';
	WALK_MUST(w, strcmp(d->last, text) < 0); /* sorted, none twice */
	memcpy(d->last, text, sizeof(text));
	if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
		WALK_MUST(w, nid == (text[1] ? d->parent : d->self) && entry[10] == 2);
		d->dots++;
		return;
	}
	WALK_MUST(w, at + len + 2 < sizeof(w->path));
	if (at)
		w->path[at++] = '/';
	memcpy(w->path + at, text, len + 1);
	d->subdirs += entry[10] == 2;
	walk_inode(w, nid, d->depth + 1, d->self, entry[10]);
	w->path[at ? at - 1 : 0] = '\0';
}

static void walk_block(struct walk *w, struct walk_dir *d, const uint8_t *block, size_t len)
{
	uint32_t first = len >= 12 ? walk_16(block + 8) : 0, n = first / 12, at = first;

	WALK_MUST(w, first >= 12 && first % 12 == 0 && first < len);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t end = i + 1 < n ? walk_16(block + (i + 1) * 12 + 8) : (uint32_t)len;

		WALK_MUST(w, walk_16(block + i * 12 + 8) == at && end > at && end <= len);
		const char *name = (const char *)block + at;

		walk_name(w, d, block + i * 12, name, strnlen(name, end - at));
		WALK_MUST(w, i + 1 == n || strnlen(name, end - at) == end - at);
		at = end;
	}
}

/* Where the content lies that the index itself holds. */
static const uint8_t *walk_content(struct walk *w, const uint8_t *inode, uint64_t after,
				   uint64_t size)
{
	unsigned layout = walk_16(inode) >> 1 & 7;
	uint64_t at = layout == 2 ? after : (uint64_t)walk_32(inode + 16) * 512;

	if (size == 0 || w->wrong)
		return w->p;
	if (layout == 2 &&
	    ((uint64_t)(inode - w->p) / 512 != (after + size) / 512 || w->p[after + size] != 0))
		w->wrong = "content beside an inode ends in its block, with a NUL";
	else if (layout != 2 && layout != 0)
		w->wrong = "content in the index is flat";
	else
		walk_claim(w, at, layout == 2 ? size : (size + 511) / 512 * 512);
	return w->wrong ? w->p : w->p + at;
}

static void walk_xattrs(struct walk *w, uint64_t at, size_t len)
{
	WALK_MUST(w, len >= 12 && walk_32(w->p + at) == 0 && w->p[at + 4] == 0);
	for (size_t off = 12; off < len;) {
		const uint8_t *e = w->p + at + off;
		size_t size = ((size_t)4 + e[0] + walk_16(e + 2) + 3) / 4 * 4;

		WALK_MUST(w, (e[1] == 1 || e[1] == 4) && size <= len - off);
		off += size;
	}
}

static void walk_extent(struct walk *w, const uint8_t *inode, uint64_t at, struct walk_file *f)
{
	uint32_t format = walk_32(inode + 16), bits = format & 31;

	WALK_MUST(w, (walk_16(inode) >> 1 & 7) == 4 && (format & ~31u) == 0x20);
	WALK_MUST(w, (512ull << bits) >= f->size);
	walk_claim(w, at, 8);
	WALK_MUST(w, 1);
	f->offset = (uint64_t)walk_32(w->p + at + 4) * 512;
	WALK_MUST(w, walk_16(w->p + at) == 0 && walk_16(w->p + at + 2) == 1);
	WALK_MUST(w, f->offset / 512 + (f->size + 511) / 512 <= w->tar_blocks);
}

static void walk_children(struct walk *w, const struct walk_file *f, const uint8_t *content,
			  unsigned depth, uint64_t parent)
{
	struct walk_dir d = { .self = f->nid, .parent = parent, .depth = depth };

	WALK_MUST(w, depth <= 256 && f->size > 0);
	for (uint64_t off = 0; off < f->size && !w->wrong; off += 512)
		walk_block(w, &d, content + off, f->size - off < 512 ? f->size - off : 512);
	WALK_MUST(w, d.dots == 2 && f->nlink == 2 + d.subdirs);
}

static void walk_inode(struct walk *w, uint64_t nid, unsigned depth, uint64_t parent, uint8_t type)
{
	uint64_t at = nid * 32;
	const uint8_t *i = w->p + at;

	WALK_MUST(w, nid < w->len / 32 && at >= 1280 && at % 512 + 64 <= 512 && at + 64 <= w->len);
	struct walk_file f = { .path = w->path,
			       .nid = nid,
			       .mode = walk_16(i + 4),
			       .size = walk_64(i + 8),
			       .uid = walk_32(i + 24),
			       .gid = walk_32(i + 28),
			       .mtime = (int64_t)walk_64(i + 32),
			       .mtime_ns = walk_32(i + 40),
			       .nlink = walk_32(i + 44) };
	uint16_t xattrs = walk_16(i + 2);
	size_t xattr_len = xattrs ? 12 + ((size_t)xattrs - 1) * 4 : 0;
	uint64_t after = at + 64 + xattr_len;
	const uint8_t *content = NULL;

	WALK_MUST(w, (walk_16(i) & ~0xeu) == 1 && walk_type(f.mode) == type && type);
	WALK_MUST(w, f.mtime_ns < 1000000000);
	if (w->names[nid]++ == 0) {
		w->inodes++;
		w->wanted[nid] = type == 2 ? 1 : f.nlink;
		walk_claim(w, at, 64 + xattr_len);
		WALK_MUST(w, 1);
		if (xattrs)
			walk_xattrs(w, at + 64, xattr_len);
		if (type == 1 && f.size)
			walk_extent(w, i, (after + 7) / 8 * 8, &f);
		else
			content = walk_content(w, i, after, f.size);
		WALK_MUST(w, f.size == 0 || (type != 3 && type != 5));
		WALK_MUST(w, type != 3 || walk_32(i + 16) == 0);
		WALK_MUST(w, type != 7 || (f.size > 0 && f.size < 4096));
	} else {
		WALK_MUST(w, type != 2);
		if (type == 1 && f.size)
			f.offset = (uint64_t)walk_32(w->p + (after + 7) / 8 * 8 + 4) * 512;
		content = (walk_16(i) >> 1 & 7) == 2 ? w->p + after
						     : w->p + (uint64_t)walk_32(i + 16) * 512;
	}
	f.target = type == 7 ? (const char *)content : "";
	f.xattrs = xattrs ? i + 64 + 12 : NULL;
	f.xattr_len = xattrs ? xattr_len - 12 : 0;
	if (w->fn)
		w->fn(&f, w->arg);
	if (type == 2)
		walk_children(w, &f, content, depth, parent);
}

static void walk_super(struct walk *w, uint64_t tar_bytes)
{
	const uint8_t *s = w->p + 1024;

	WALK_MUST(w, w->len >= 1536 && w->len % 512 == 0);
	WALK_MUST(w, walk_32(s) == 0xE0F5E1E2 && s[12] == 9 && s[90] == 0);
	WALK_MUST(w, walk_32(s + 36) == w->len / 512 && walk_32(s + 40) == 0);
	WALK_MUST(w, walk_32(s + 80) == (4 | 8) && walk_16(s + 86) == 1 && walk_16(s + 88) == 9);
	WALK_MUST(w, walk_32(s + 128 + 64) == tar_bytes / 512);
	w->tar_blocks = tar_bytes / 512;
	walk_claim(w, 0, 1280);
	walk_inode(w, walk_16(s + 14), 0, walk_16(s + 14), 2);
	WALK_MUST(w, w->inodes == walk_64(s + 16));
	for (size_t nid = 0; nid < w->len / 32; nid++)
		WALK_MUST(w, w->names[nid] == w->wanted[nid]);
}

/* NULL when all is well, else the rule that is broken. */
static const char *erofs_walk(const uint8_t *index, size_t len, uint64_t tar_bytes, walk_fn *fn,
			      void *arg)
{
	struct walk *w = calloc(1, sizeof(*w));

	*w = (struct walk){ .p = index, .len = len, .fn = fn, .arg = arg };
	w->used = calloc(1, len + 1);
	w->names = calloc(len / 32 + 1, sizeof(*w->names));
	w->wanted = calloc(len / 32 + 1, sizeof(*w->wanted));
	walk_super(w, tar_bytes);
	const char *wrong = w->wrong;

	free(w->used);
	free(w->names);
	free(w->wanted);
	free(w);
	return wrong;
}

#endif
