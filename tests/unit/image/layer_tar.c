/* layer_tar.c - see the header. */
#include "layer_tar.h"

#include "erofs_walk.h"

#include <isa-l.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

static void octal(char *field, size_t digits, uint64_t v)
{
	for (field += digits; digits; digits--, v >>= 3)
		*--field = (char)('0' + (v & 7));
}

static void set_sum(char *h, bool bad)
{
	unsigned sum = bad;

	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	octal(h + 148, 6, sum);
	h[154] = '\0';
}

void tar_block(struct gt_buf *b, const struct tar_entry *e, char type, const char *path,
	       const void *data, size_t len)
{
	static const char zeros[512];
	char h[512] = { 0 };

	strncpy(h, path, 100);
	octal(h + 100, 7, e->mode ? e->mode : 0644);
	octal(h + 108, 7, e->uid);
	octal(h + 116, 7, e->gid);
	octal(h + 124, 11, len);
	if (e->size && type == (e->type ? e->type : '0'))
		memcpy(h + 124, e->size, 12);
	octal(h + 136, 11, 1000000000);
	h[156] = type;
	if (e->link)
		strncpy(h + 157, e->link, 100);
	memcpy(h + 257,
	       "ustar\0"
	       "00",
	       8);
	if (e->poke.bytes && type == (e->type ? e->type : '0'))
		memcpy(h + e->poke.at, e->poke.bytes, e->poke.len);
	set_sum(h, e->bad_sum);
	gt_buf_add(b, h, 512);
	gt_buf_add(b, data, len);
	gt_buf_add(b, zeros, -len & 511);
}

/* "key=value\n" becomes "NN key=value\n". */
static void records(const char *text, struct gt_buf *ret)
{
	while (*text) {
		size_t len = strcspn(text, "\n"), all = len + 3, digits;

		do {
			digits = (size_t)snprintf(NULL, 0, "%zu", all);
			if (digits + 2 + len == all)
				break;
			all = digits + 2 + len;
		} while (true);
		gt_buf_addf(ret, "%zu %.*s\n", all, (int)len, text);
		text += len + (text[len] == '\n');
	}
}

void tar_add(struct gt_buf *b, const struct tar_entry *e)
{
	gt_auto(buf) struct gt_buf pax = { 0 };

	if (e->global) {
		records(e->global, &pax);
		tar_block(b, e, 'g', "global", pax.data, pax.len);
		gt_buf_reset(&pax);
	}
	if (e->pax)
		records(e->pax, &pax);
	if (e->raw_pax)
		gt_buf_adds(&pax, e->raw_pax);
	if (pax.len)
		tar_block(b, e, 'x', "pax", pax.data, pax.len);
	if (e->path)
		tar_block(b, e, e->type ? e->type : '0', e->path, e->data ? e->data : "",
			  e->data ? strlen(e->data) : 0);
}

void tar_end(struct gt_buf *b)
{
	static const char zeros[1024];

	gt_buf_add(b, zeros, sizeof(zeros));
}

int layer_make(struct layer *l, enum gt_layer_form form, const void *data, size_t len, size_t step,
	       const struct gt_layer_limits *limits)
{
	struct gt_layer_writer *w = NULL;
	int r;

	memset(l, 0, sizeof(*l));
	l->tar_fd = memfd_create("tar", MFD_CLOEXEC);
	l->index_fd = memfd_create("index", MFD_CLOEXEC);
	assert_true(l->tar_fd >= 0 && l->index_fd >= 0);
	r = gt_layer_new(form, l->tar_fd, l->index_fd, limits, &w, &l->err);
	for (size_t at = 0, n; r == 0 && at < len; at += n) {
		/* In a block of its own, so that a sanitizer sees what reads past it. */
		n = step && step < len - at ? step : len - at;
		void *piece = malloc(n);

		memcpy(piece, (const char *)data + at, n);
		r = gt_layer_feed(w, piece, n, &l->err);
		free(piece);
	}
	if (r == 0)
		r = gt_layer_finish(w, &l->res, &l->err);
	gt_layer_free(w);
	return r;
}

void layer_close(struct layer *l)
{
	close(l->tar_fd);
	close(l->index_fd);
}

void fd_content(int fd, struct gt_buf *b)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	gt_buf_init(b, (size_t)st.st_size + 2);
	char *p = gt_buf_reserve(b, (size_t)st.st_size + 1);

	assert_non_null(p);
	assert_int_equal(pread(fd, p, (size_t)st.st_size, 0), st.st_size);
	b->len += (size_t)st.st_size;
}

static void list_xattrs(const struct walk_file *f, struct gt_buf *text)
{
	for (size_t off = 0; off < f->xattr_len;) {
		const uint8_t *e = f->xattrs + off;
		unsigned name = e[0], value = walk_16(e + 2);

		gt_buf_addf(text, " %s%.*s=%.*s", e[1] == 1 ? "user." : "trusted.", (int)name,
			    (const char *)e + 4, (int)value, (const char *)e + 4 + name);
		off += (4 + name + value + 3) / 4 * 4;
	}
}

static void list_one(const struct walk_file *f, void *arg)
{
	static const char types[] = { 0, '-', 'd', 'c', 0, 'p', 0, 'l' };
	struct gt_buf *text = arg;

	gt_buf_addf(text, "%s %c%o %u:%u n%u", *f->path ? f->path : "/", types[walk_type(f->mode)],
		    f->mode & 07777, f->uid, f->gid, f->nlink);
	if (S_ISREG(f->mode))
		gt_buf_addf(text, " s%llu", (unsigned long long)f->size);
	if (S_ISLNK(f->mode))
		gt_buf_addf(text, " -> %.*s", (int)f->size, f->target);
	list_xattrs(f, text);
	gt_buf_addc(text, '\n');
}

char *layer_list(const struct layer *l)
{
	gt_auto(buf) struct gt_buf index = { 0 }, text = { 0 };

	fd_content(l->index_fd, &index);
	assert_int_equal(index.len, l->res.index_bytes);
	const char *wrong = erofs_walk((const uint8_t *)index.data, index.len, l->res.tar_bytes,
				       list_one, &text);

	if (wrong)
		fail_msg("the index is wrong: %s", wrong);
	return gt_buf_steal(&text);
}

void gzip_of(const struct gt_buf *plain, struct gt_buf *ret)
{
	struct isal_zstream s = { 0 }; /* its init leaves members as they are */
	size_t room = plain->len + plain->len / 2 + 1024;

	isal_deflate_stateless_init(&s);
	s.gzip_flag = IGZIP_GZIP;
	s.end_of_stream = 1;
	s.next_in = (uint8_t *)plain->data;
	s.avail_in = (uint32_t)plain->len;
	s.next_out = (uint8_t *)gt_buf_reserve(ret, room);
	s.avail_out = (uint32_t)room;
	assert_non_null(s.next_out);
	assert_int_equal(isal_deflate_stateless(&s), COMP_OK);
	ret->len += s.total_out;
}

void zstd_of(const struct gt_buf *plain, struct gt_buf *ret)
{
	size_t room = ZSTD_compressBound(plain->len);
	char *out = gt_buf_reserve(ret, room);

	assert_non_null(out);
	size_t n = ZSTD_compress(out, room, plain->data, plain->len, 3);

	assert_false(ZSTD_isError(n));
	ret->len += n;
}
