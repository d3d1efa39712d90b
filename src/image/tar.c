/* tar.c - the archive as a state machine over blocks. */
#include "tar.h"

#include <string.h>

void gt_tar_init(struct gt_tar *t, gt_tar_fn *fn, void *arg)
{
	*t = (struct gt_tar){ .fn = fn, .arg = arg };
	gt_buf_init(&t->extra, GT_TAR_PAX_MAX);
}

void gt_tar_fini(struct gt_tar *t)
{
	gt_buf_fini(&t->extra);
	gt_buf_fini(&t->pax_text);
	gt_buf_fini(&t->long_path);
	gt_buf_fini(&t->long_link);
}

static const char *refused_type(char type)
{
	switch (type) {
	case '3':
		return "a character device";
	case '4':
		return "a block device";
	case 'S':
		return "a sparse file";
	case 'D':
	case 'M':
	case 'N':
	case 'V':
		return "a record of an incremental or split backup";
	default:
		return "of an unknown type";
	}
}

static int entry_type(const struct gt_tar_head *h, struct gt_tar_entry *e, struct gt_err *err)
{
	char shown[GT_SHOWN_SIZE];
	size_t len = strlen(e->path);

	switch (h->type) {
	case '\0':
	case '0':
	case '7':
		/* Before there was a type for them, directories were files with a slash. */
		e->type = len && e->path[len - 1] == '/' ? GT_TAR_DIR : GT_TAR_FILE;
		break;
	case '1':
		e->type = GT_TAR_HARDLINK;
		break;
	case '2':
		e->type = GT_TAR_SYMLINK;
		break;
	case '5':
		e->type = GT_TAR_DIR;
		break;
	case '6':
		e->type = GT_TAR_FIFO;
		break;
	default:
		return gt_image_refuse(err, "%s is %s", gt_image_shown(e->path, shown),
				       refused_type(h->type));
	}
	/* Some readers would skip these bytes, others take them for the next header. */
	if (e->type != GT_TAR_FILE && e->size)
		return gt_image_refuse(err, "%s has content and can not",
				       gt_image_shown(e->path, shown));
	return 0;
}

/* In a container a fresh /dev lies over the image's own: what base images of old have there is
 * passed over. Anywhere else a node would be one more door. */
static bool is_passed_over(const struct gt_tar_head *h, const struct gt_tar_entry *e)
{
	const char *path = e->path;

	if (h->type != '3' && h->type != '4')
		return false;
	while (path[0] == '/' || (path[0] == '.' && path[1] == '/'))
		path++;
	return gt_starts_with(path, "dev/");
}

static void overlay_pax(struct gt_tar_entry *e, const struct gt_pax *pax)
{
	if (pax->has & GT_PAX_PATH)
		e->path = pax->path;
	if (pax->has & GT_PAX_LINK)
		e->link = pax->link;
	if (pax->has & GT_PAX_SIZE)
		e->size = pax->size;
	if (pax->has & GT_PAX_UID)
		e->uid = pax->uid;
	if (pax->has & GT_PAX_GID)
		e->gid = pax->gid;
	if (pax->has & GT_PAX_MTIME) {
		e->mtime = pax->mtime;
		e->mtime_ns = pax->mtime_ns;
	}
}

static int owners(const struct gt_tar *t, const struct gt_tar_head *h, struct gt_tar_entry *e,
		  struct gt_err *err)
{
	unsigned has = t->global.has | t->pax.has;

	/* The last id is what chown takes for "leave it". */
	if ((h->uid >= UINT32_MAX && !(has & GT_PAX_UID)) ||
	    (h->gid >= UINT32_MAX && !(has & GT_PAX_GID)))
		return gt_image_refuse(err, "an owner above %u", UINT32_MAX - 1);
	e->uid = (uint32_t)h->uid;
	e->gid = (uint32_t)h->gid;
	return 0;
}

static int entry(struct gt_tar *t, const struct gt_tar_head *h, struct gt_err *err)
{
	struct gt_tar_entry e = { .path = h->path,
				  .link = h->link,
				  .mode = h->mode & 07777,
				  .mtime = h->mtime,
				  .size = h->size,
				  .offset = t->at,
				  .xattrs = t->pax.xattrs,
				  .n_xattrs = t->pax.n_xattrs };
	char shown[GT_SHOWN_SIZE];
	int r;

	if ((t->has_path && (t->pax.has & GT_PAX_PATH)) ||
	    (t->has_link && (t->pax.has & GT_PAX_LINK)))
		return gt_image_refuse(err, "one entry with two long names");
	if ((r = owners(t, h, &e, err)) < 0)
		return gt_err_wrap(err, "%s", gt_image_shown(h->path, shown));
	if (t->has_path)
		e.path = gt_buf_str(&t->long_path);
	if (t->has_link)
		e.link = gt_buf_str(&t->long_link);
	overlay_pax(&e, &t->global);
	overlay_pax(&e, &t->pax);
	if (e.size > GT_TAR_FILE_MAX)
		return gt_image_refuse(err, "%s has an impossible size",
				       gt_image_shown(e.path, shown));
	if (!is_passed_over(h, &e) &&
	    ((r = entry_type(h, &e, err)) < 0 || (r = t->fn(&e, t->arg, err)) < 0))
		return r;
	t->left = e.size;
	t->pad = (uint32_t)(-e.size & (GT_TAR_BLOCK - 1));
	t->state = e.size ? GT_TAR_DATA : GT_TAR_HEAD;
	t->has_pax = t->has_path = t->has_link = false;
	t->pax.has = 0;
	t->pax.n_xattrs = 0;
	return 0;
}

/* A header that belongs to the entry after it. */
static int extra_begin(struct gt_tar *t, const struct gt_tar_head *h, struct gt_err *err)
{
	uint64_t max = h->type == 'L' || h->type == 'K' ? GT_TAR_PATH_MAX + 1 : GT_TAR_PAX_MAX - 1;

	if (h->size == 0 || h->size > max)
		return gt_image_refuse(err, "an extended header of %llu bytes",
				       (unsigned long long)h->size);
	if ((h->type == 'x' && t->has_pax) || (h->type == 'L' && t->has_path) ||
	    (h->type == 'K' && t->has_link))
		return gt_image_refuse(err, "two extended headers for one entry");
	t->kind = h->type;
	gt_buf_reset(&t->extra);
	t->left = h->size;
	t->pad = (uint32_t)(-h->size & (GT_TAR_BLOCK - 1));
	t->state = GT_TAR_EXTRA;
	return 0;
}

static void swap(struct gt_buf *a, struct gt_buf *b)
{
	struct gt_buf tmp = *a;

	*a = *b;
	*b = tmp;
}

/* GNU's long name: text with its NUL. */
static int long_name(struct gt_tar *t, struct gt_buf *to, bool *has, struct gt_err *err)
{
	size_t len = strlen(gt_buf_str(&t->extra));

	for (size_t i = len; i < t->extra.len; i++)
		if (t->extra.data[i])
			return gt_image_refuse(err, "a long name holds a NUL");
	swap(&t->extra, to);
	*has = true;
	return 0;
}

static int extra_end(struct gt_tar *t, struct gt_err *err)
{
	t->state = GT_TAR_HEAD;
	if (t->kind == 'L')
		return long_name(t, &t->long_path, &t->has_path, err);
	if (t->kind == 'K')
		return long_name(t, &t->long_link, &t->has_link, err);
	if (t->kind == 'g')
		return gt_pax_parse(gt_buf_str(&t->extra), t->extra.len, true, &t->global, err);
	t->has_pax = true;
	swap(&t->extra, &t->pax_text);
	return gt_pax_parse(gt_buf_str(&t->pax_text), t->pax_text.len, false, &t->pax, err);
}

static bool all_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int header(struct gt_tar *t, const uint8_t *block, struct gt_err *err)
{
	struct gt_tar_head h;
	int r;

	if (all_zero(block, GT_TAR_BLOCK)) {
		if (t->has_pax || t->has_path || t->has_link)
			return gt_image_refuse(err, "an extended header without its entry");
		if (++t->zeros == 2)
			t->state = GT_TAR_END;
		return 0;
	}
	if (t->zeros)
		return gt_image_refuse(err, "an entry after a mark of the end");
	if ((r = gt_tar_head_parse(block, &h, err)) < 0)
		return r;
	if (h.type == 'x' || h.type == 'g' || h.type == 'L' || h.type == 'K')
		return extra_begin(t, &h, err);
	return entry(t, &h, err);
}

static size_t feed_header(struct gt_tar *t, const uint8_t *data, size_t len, int *r,
			  struct gt_err *err)
{
	size_t n = GT_MIN(len, GT_TAR_BLOCK - t->filled);
	const uint8_t *block = data;

	t->at += n;
	if (n < GT_TAR_BLOCK) { /* a block in pieces */
		memcpy(t->block + t->filled, data, n);
		t->filled += n;
		if (t->filled < GT_TAR_BLOCK)
			return n;
		t->filled = 0;
		block = t->block;
	}
	*r = header(t, block, err);
	return n;
}

/* Content that is not looked at, or an extra header that is kept; then the padding. */
static size_t feed_content(struct gt_tar *t, const uint8_t *data, size_t len, int *r,
			   struct gt_err *err)
{
	size_t n = (size_t)GT_MIN(len, t->left ? t->left : t->pad);

	if (t->left) {
		if (t->state == GT_TAR_EXTRA && gt_buf_add(&t->extra, data, n) < 0)
			*r = gt_image_refuse(err, "an extended header is too long");
		t->left -= n;
	} else {
		t->pad -= (uint32_t)n;
	}
	t->at += n;
	if (*r < 0 || t->left || t->pad)
		return n;
	if (t->state == GT_TAR_EXTRA)
		*r = extra_end(t, err);
	else
		t->state = GT_TAR_HEAD;
	return n;
}

int gt_tar_feed(struct gt_tar *t, const uint8_t *data, size_t len, struct gt_err *err)
{
	int r = 0;

	while (len > 0 && r == 0) {
		size_t n = len;

		if (t->state == GT_TAR_HEAD)
			n = feed_header(t, data, len, &r, err);
		else if (t->state != GT_TAR_END)
			n = feed_content(t, data, len, &r, err);
		else if (!all_zero(data, len)) /* a reader that goes on would see other files */
			r = gt_image_refuse(err, "data after the end of the archive");
		data += n;
		len -= n;
	}
	return r;
}

int gt_tar_finish(const struct gt_tar *t, struct gt_err *err)
{
	if (t->state != GT_TAR_END)
		return gt_image_refuse(err, "the archive ends too early");
	return 0;
}
