/* test_layer_tree.c - what archives mean: the index, read back by the tests' own reader, says what
 * it should; any cut of the bytes and any form gives the same. */
#include "layer_tar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <gantry/base/clock.h>

#include "erofs.h"
#include "erofs_walk.h"

#define D(p)                             \
	{                                \
		.path = (p), .type = '5' \
	}
#define F(p)                             \
	{                                \
		.path = (p), .data = "x" \
	}
#define L(p, to)                                       \
	{                                              \
		.path = (p), .type = '2', .link = (to) \
	}
#define H(p, to)                                       \
	{                                              \
		.path = (p), .type = '1', .link = (to) \
	}
#define W(p)                \
	{                   \
		.path = (p) \
	}
#define P(p, text)                         \
	{                                  \
		.path = (p), .pax = (text) \
	}

static const struct {
	const char *what;
	struct tar_entry entries[6];
	const char *list; /* without the root's line, unless it begins with one */
} cases[] = {
	{ "nothing", { { 0 } }, "/ d755 0:0 n2\n" },
	{ "root", { { .path = "./", .type = '5', .mode = 0711, .uid = 7 } }, "/ d711 7:0 n2\n" },
	{ "parents are made",
	  { F("a/b/c") },
	  "a d755 0:0 n3\na/b d755 0:0 n2\na/b/c -644 0:0 n1 s1\n" },
	{ "slashes and dots mean nothing",
	  { F("/a"), F("./b"), F(".//./c/./d"), F("//e") },
	  "a -644 0:0 n1 s1\nb -644 0:0 n1 s1\nc d755 0:0 n2\nc/d -644 0:0 n1 s1\n"
	  "e -644 0:0 n1 s1\n" },
	{ "a directory by its slash", { { .path = "d/", .mode = 0700 } }, "d d700 0:0 n2\n" },
	{ "a dot behind a directory is that directory",
	  { F("d/e/f"), { .path = "d/e/.", .type = '5', .mode = 0700 }, F("d/g") },
	  "d d755 0:0 n3\nd/e d700 0:0 n2\nd/e/f -644 0:0 n1 s1\nd/g -644 0:0 n1 s1\n" },
	{ "a file replaces a file",
	  { { .path = "f", .data = "long", .uid = 5 }, F("f") },
	  "f -644 0:0 n1 s1\n" },
	{ "a directory keeps its files",
	  { D("d"), F("d/f"), { .path = "d", .type = '5', .mode = 0700 } },
	  "d d700 0:0 n2\nd/f -644 0:0 n1 s1\n" },
	{ "a file over a directory drops what was below",
	  { F("d/e/f"), F("d/g"), F("d") },
	  "d -644 0:0 n1 s1\n" },
	{ "a directory over a file",
	  { F("d"), D("d"), F("d/f") },
	  "d d644 0:0 n2 trusted.overlay.opaque=y\nd/f -644 0:0 n1 s1\n" },
	{ "a directory over a link",
	  { L("d", "/etc"), D("d"), F("d/passwd") },
	  "d d644 0:0 n2 trusted.overlay.opaque=y\nd/passwd -644 0:0 n1 s1\n" },
	{ "a link over a directory", { F("d/f"), L("d", "/etc") }, "d l777 0:0 n1 -> /etc\n" },
	{ "links are kept as they are",
	  { L("a", "../../etc/passwd"), L("b", "/"), L("c", ".") },
	  "a l777 0:0 n1 -> ../../etc/passwd\nb l777 0:0 n1 -> /\nc l777 0:0 n1 -> .\n" },
	{ "hard links are names of one file",
	  { F("a"), H("d/b", "./a"), H("c", "/d/b") },
	  "a -644 0:0 n3 s1\nc -644 0:0 n3 s1\nd d755 0:0 n2\nd/b -644 0:0 n3 s1\n" },
	{ "a replaced name leaves the others alone",
	  { F("a"), H("b", "a"), { .path = "a", .data = "yy" } },
	  "a -644 0:0 n1 s2\nb -644 0:0 n1 s1\n" },
	{ "a hard link over itself", { F("a"), H("a", "a") }, "a -644 0:0 n1 s1\n" },
	{ "a hard link over another name of it",
	  { F("a"), H("b", "a"), H("b", "a") },
	  "a -644 0:0 n2 s1\nb -644 0:0 n2 s1\n" },
	{ "a hard link over a directory",
	  { F("a"), F("d/x"), H("d", "a") },
	  "a -644 0:0 n2 s1\nd -644 0:0 n2 s1\n" },
	{ "a hard link to a link",
	  { L("a", "x"), H("b", "a") },
	  "a l777 0:0 n2 -> x\nb l777 0:0 n2 -> x\n" },
	{ "files of a dropped directory live on by other names",
	  { F("d/f"), H("g", "d/f"), F("d") },
	  "d -644 0:0 n1 s1\ng -644 0:0 n1 s1\n" },
	{ "nodes of the archive's own /dev are passed over",
	  { { .path = "./dev/null", .type = '3' }, { .path = "/dev/sda", .type = '4' }, F("f") },
	  "f -644 0:0 n1 s1\n" },
	{ "fifos", { { .path = "p", .type = '6', .mode = 0600 } }, "p p600 0:0 n1\n" },
	{ "bits of programs",
	  { { .path = "s", .mode = 06755, .uid = 1, .gid = 2000000 } },
	  "s -6755 1:2000000 n1 s0\n" },
	{ "a whiteout",
	  { W("d/.wh.f") },
	  "d d755 0:0 n2 trusted.overlay.origin=\nd/f c0 0:0 n1\n" },
	{ "a whiteout of what is in the layer",
	  { F("f"), W(".wh.f"), W(".wh.g"), F("g") },
	  "f -644 0:0 n1 s1\ng -644 0:0 n1 s1\n" },
	{ "a whiteout of a directory that is in the layer",
	  { F("d/f"), W(".wh.d"), W(".wh.e"), F("e/f") },
	  "d d755 0:0 n2 trusted.overlay.opaque=y\nd/f -644 0:0 n1 s1\n"
	  "e d755 0:0 n2 trusted.overlay.opaque=y\ne/f -644 0:0 n1 s1\n" },
	{ "a hard link over a whiteout",
	  { F("a"), W(".wh.b"), H("b", "a") },
	  "a -644 0:0 n2 s1\nb -644 0:0 n2 s1\n" },
	{ "an opaque directory needs no whiteouts",
	  { W("d/.wh.f"), F("d/g"), W("d/.wh..wh..opq") },
	  "d d755 0:0 n2 trusted.overlay.opaque=y\nd/g -644 0:0 n1 s1\n" },
	{ "long names and links by pax",
	  { P("short", "path=dir/long\nmtime=1.5"),
	    { .path = "l", .type = '2', .link = "no", .pax = "linkpath=yes" } },
	  "dir d755 0:0 n2\ndir/long -644 0:0 n1 s0\nl l777 0:0 n1 -> yes\n" },
	{ "owners by pax",
	  { { .path = "f", .pax = "uid=4294967294\ngid=70000" }, F("g") },
	  "f -644 4294967294:70000 n1 s0\ng -644 0:0 n1 s1\n" },
	{ "records that take back",
	  { P("f", "path=x\npath=\nuid=9\nuid=") },
	  "f -644 0:0 n1 s0\n" },
	{ "global owners",
	  { { .path = "f", .global = "uid=9\ncomment=x" }, P("g", "uid=8") },
	  "f -644 9:0 n1 s0\ng -644 8:0 n1 s0\n" },
	{ "attributes that are kept",
	  { P("f", "SCHILY.xattr.user.a=b=c\nSCHILY.xattr.user.e=") },
	  "f -644 0:0 n1 s0 user.a=b=c user.e=\n" },
	{ "attributes that are not",
	  { P("f", "SCHILY.xattr.security.capability=x\nSCHILY.xattr.trusted.overlay.opaque=y\n"
		   "SCHILY.xattr.system.posix_acl_access=x\nSCHILY.xattr.user.overlay.redirect=/\n"
		   "SCHILY.xattr.userx=1"),
	    { .path = "l", .type = '2', .link = "f", .pax = "SCHILY.xattr.user.a=b" } },
	  "f -644 0:0 n1 s0\nl l777 0:0 n1 -> f\n" },
};

static char *list_of(const struct tar_entry *entries, size_t n)
{
	gt_auto(buf) struct gt_buf tar = { 0 };
	struct layer l;

	for (size_t i = 0; i < n; i++)
		if (entries[i].path)
			tar_add(&tar, &entries[i]);
	tar_end(&tar);
	if (layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 0, NULL) < 0)
		fail_msg("%s", l.err.text);
	char *list = layer_list(&l);

	layer_close(&l);
	return list;
}

static void archives_mean_what_they_say(void **state)
{
	(void)state;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(free) char *list = list_of(cases[i].entries, GT_LEN(cases[i].entries));
		const char *from = *cases[i].list == '/' ? list : strchr(list, '\n') + 1;

		if (strcmp(from, cases[i].list) != 0)
			fail_msg("%s:\n%s-- but:\n%s", cases[i].what, cases[i].list, from);
	}
}

/* What stands before a name: POSIX's field for it is cut by star's times, and GNU has none. */
static void prefixes_of_names(void **state)
{
	static const struct {
		const char *magic, *trailer;
		unsigned prefix; /* as many letters are written */
		unsigned read;
	} kinds[] = {
		{ "ustar\0"
		  "00",
		  "", 1, 1 },
		{ "ustar\0"
		  "00",
		  "", 155, 155 },
		{ "ustar\0\0\0", "", 155, 155 },
		{ "ustar  \0", "", 155, 0 },
		{ "\0\0\0\0\0\0\0\0", "", 155, 0 },
		{ "ustar\0"
		  "00",
		  "tar", 155, 131 },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(kinds); i++) {
		char rest[255] = { 0 }, want[256] = { 0 };
		struct tar_entry e = { .path = "f", .poke = { 257, sizeof(rest), rest } };

		memcpy(rest, kinds[i].magic, 8);
		memset(rest + 88, 'p', kinds[i].prefix);
		memcpy(rest + 251, kinds[i].trailer, strlen(kinds[i].trailer));
		memset(want, 'p', kinds[i].read);
		gt_auto(free) char *list = list_of(&e, 1);
		gt_auto(free) char *file = gt_asprintf("\n%s%sf -644 ", want, *want ? "/" : "");

		if (!strstr(list, file))
			fail_msg("%zu: %s", i, list);
	}
}

/* A tree with all that changes where things lie: inode sizes, blocks of names, long targets. */
static void varied(struct gt_buf *tar)
{
	char name[300], text[4096];

	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "path=many/%0*d", 1 + i, i);
		tar_add(tar, &(struct tar_entry){ .path = "f", .pax = name, .data = name });
	}
	/* Every length around what fits beside an inode. */
	for (int i = 1; i < 4000; i += i >= 435 && i < 455 ? 1 : 31) {
		int n = snprintf(text, sizeof(text), "linkpath=");

		memset(text + n, 'a' + i % 26, (size_t)i);
		text[n + i] = '\0';
		snprintf(name, sizeof(name), "links/%d", i);
		tar_add(tar, &(struct tar_entry){ .path = name, .type = '2', .pax = text });
	}
	for (int i = 0; i < 40; i++) {
		int n = snprintf(text, sizeof(text), "SCHILY.xattr.user.n%d=", i);

		memset(text + n, 'v', (size_t)i * 31);
		text[n + i * 31] = '\0';
		snprintf(name, sizeof(name), "attributes/%d/!", i);
		tar_add(tar, &(struct tar_entry){ .path = name, .pax = text, .data = "y" });
		snprintf(name, sizeof(name), "attributes/%d", i);
		tar_add(tar, &(struct tar_entry){ .path = name, .type = '5', .pax = text });
	}
	tar_end(tar);
}

static void same_as(const struct gt_buf *index, const struct gt_buf *tar, enum gt_layer_form form,
		    const struct gt_buf *data, size_t step)
{
	gt_auto(buf) struct gt_buf got = { 0 }, back = { 0 };
	struct layer l;

	if (layer_make(&l, form, data->data, data->len, step, NULL) < 0)
		fail_msg("form %d, steps of %zu: %s", form, step, l.err.text);
	fd_content(l.index_fd, &got);
	fd_content(l.tar_fd, &back);
	assert_int_equal(got.len, index->len);
	assert_memory_equal(got.data, index->data, index->len);
	assert_int_equal(back.len, tar->len);
	assert_memory_equal(back.data, tar->data, tar->len);
	layer_close(&l);
}

static void any_cut_in_any_form_gives_the_same(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 }, gz = { 0 }, zst = { 0 }, two = { 0 },
				   frames = { 0 }, index = { 0 };
	struct gt_buf half = { 0 }, rest = { 0 };
	uint64_t seed = 42;
	struct gt_rand rnd = gt_rand_seeded(&seed);
	struct layer l;

	(void)state;
	varied(&tar);
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 0, NULL), 0);
	free(layer_list(&l));
	fd_content(l.index_fd, &index);
	layer_close(&l);
	gzip_of(&tar, &gz);
	zstd_of(&tar, &zst);
	half = rest = tar;
	half.len = tar.len / 2 + 7;
	rest.data += half.len;
	rest.len -= half.len;
	gzip_of(&half, &two); /* members and frames in a row */
	gzip_of(&rest, &two);
	zstd_of(&half, &frames);
	zstd_of(&rest, &frames);
	for (int i = 0; i < 12; i++) {
		uint16_t step;

		rnd.fill(rnd.arg, &step, sizeof(step));
		step = i == 0 ? 1 : i < 6 ? step % 700 + 1 : step;
		same_as(&index, &tar, GT_LAYER_TAR, &tar, step);
		same_as(&index, &tar, GT_LAYER_GZIP, &gz, step);
		same_as(&index, &tar, GT_LAYER_GZIP, &two, step);
		same_as(&index, &tar, GT_LAYER_ZSTD, &zst, step);
		same_as(&index, &tar, GT_LAYER_ZSTD, &frames, step);
	}
}

static void refuse(enum gt_layer_form form, const void *data, size_t len, const char *why)
{
	static const size_t steps[] = { 0, 1 };

	for (size_t i = 0; i < GT_LEN(steps); i++) {
		struct layer l;

		if (layer_make(&l, form, data, len, steps[i], NULL) != -EBADMSG ||
		    strcmp(l.err.slug, "image_invalid") != 0 || !strstr(l.err.text, why))
			fail_msg("form %d, %zu bytes: \"%s\"", form, len, l.err.text);
		layer_close(&l);
	}
}

static void a_cut_archive_is_refused(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 }, gz = { 0 }, zst = { 0 };

	(void)state;
	tar_add(&tar, &(struct tar_entry){ .path = "a/b", .data = "content", .pax = "uid=1" });
	tar_add(&tar, &(struct tar_entry){ .path = "l", .type = '2', .link = "x" });
	tar_end(&tar);
	for (size_t len = 0; len < tar.len; len++)
		if (len % 512 == 0 || len % 512 == 511 || len % 101 == 0)
			refuse(GT_LAYER_TAR, tar.data, len, "too early");
	gzip_of(&tar, &gz);
	zstd_of(&tar, &zst);
	for (size_t len = 0; len < gz.len; len++)
		refuse(GT_LAYER_GZIP, gz.data, len, "too early");
	for (size_t len = 0; len < zst.len; len++)
		refuse(GT_LAYER_ZSTD, zst.data, len, "too early");
}

static void broken_compression_is_refused(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 }, gz = { 0 }, zst = { 0 };

	(void)state;
	tar_add(&tar, &(struct tar_entry){ .path = "a", .data = "content" });
	tar_end(&tar);
	gzip_of(&tar, &gz);
	zstd_of(&tar, &zst);
	gz.data[gz.len - 1] ^= 1; /* the length behind the checksum */
	refuse(GT_LAYER_GZIP, gz.data, gz.len, "checksum");
	gz.data[gz.len - 1] ^= 1;
	gz.data[gz.len - 8] ^= 1;
	refuse(GT_LAYER_GZIP, gz.data, gz.len, "checksum");
	gz.data[gz.len - 8] ^= 1;
	gt_buf_add(&gz, "junk behind", 11);
	refuse(GT_LAYER_GZIP, gz.data, gz.len, "gzip");
	gt_buf_add(&zst, "junk behind", 11);
	refuse(GT_LAYER_ZSTD, zst.data, zst.len, "zstd");
	refuse(GT_LAYER_GZIP, tar.data, tar.len, "gzip");
	refuse(GT_LAYER_ZSTD, tar.data, tar.len, "zstd");
	refuse(GT_LAYER_TAR, gz.data, gz.len, "");
}

static void a_digest_names_the_archive(void **state)
{
	struct layer l;
	static const char zeros[1024];

	(void)state;
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, zeros, sizeof(zeros), 0, NULL), 0);
	/* The empty layer that every builder knows by this name. */
	assert_string_equal(l.res.diff_id, "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6"
					   "cddfaf10ace3c6ef");
	assert_int_equal(l.res.tar_bytes, 1024);
	assert_int_equal(l.res.entries, 0);
	layer_close(&l);
}

static void a_writer_that_failed_takes_no_more(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 };
	struct gt_layer_writer *w = NULL;
	struct gt_layer_result res = { .entries = 77 };
	struct gt_err err;

	(void)state;
	tar_add(&tar, &(struct tar_entry){ .path = "c", .type = '3' });
	assert_int_equal(gt_layer_new(GT_LAYER_FORM_N, -1, -1, NULL, &w, &err), -EINVAL);
	assert_int_equal(gt_layer_new(GT_LAYER_TAR, -1, -1, NULL, &w, &err), 0);
	assert_true(gt_layer_feed(w, tar.data, tar.len, &err) < 0);
	assert_int_equal(gt_layer_feed(w, tar.data, tar.len, &err), -EINVAL);
	assert_int_equal(gt_layer_finish(w, &res, &err), -EINVAL);
	assert_int_equal(res.entries, 77);
	gt_layer_free(w);
	gt_layer_free(NULL);
}

static void count_one(const struct walk_file *f, void *arg)
{
	uint64_t *n = arg;

	n[0]++;
	n[1] += S_ISREG(f->mode) && f->size == (5ull << 30);
}

/* The first inode too moves on to the next block when its names would not fit beside it. */
static void a_root_of_any_size(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 80; n++) {
		gt_auto(buf) struct gt_buf tar = { 0 };
		struct layer l;
		unsigned lines = 0;

		for (unsigned i = 0; i < n; i++) {
			char name[32];

			snprintf(name, sizeof(name), "name%u", i);
			tar_add(&tar, &(struct tar_entry){ .path = name });
		}
		tar_end(&tar);
		assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 0, NULL), 0);
		gt_auto(free) char *list = layer_list(&l);

		for (const char *p = list; *p; p++)
			lines += *p == '\n';
		assert_int_equal(lines, n + 1);
		layer_close(&l);
	}
}

/* More names than 16 bits count. */
static void a_directory_of_many_names(void **state)
{
	enum { FILES = 70000 };
	gt_auto(buf) struct gt_buf tar = { 0 }, index = { 0 };
	struct layer l = { 0 };
	uint64_t n[2] = { 0 };

	(void)state;
	for (unsigned i = 0; i < FILES; i++) {
		char name[32];

		snprintf(name, sizeof(name), "d/%u", i * 7919u % FILES);
		tar_add(&tar, &(struct tar_entry){ .path = name });
	}
	tar_end(&tar);
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 0, NULL), 0);
	fd_content(l.index_fd, &index);
	assert_null(erofs_walk((void *)index.data, index.len, l.res.tar_bytes, count_one, n));
	assert_int_equal(n[0], FILES + 2);
	layer_close(&l);
}

/* Sizes and places that 32 bits do not hold; the archive itself is not needed for it. */
static void files_of_many_gigabytes(void **state)
{
	static const uint8_t id[16] = "0123456789abcde";
	struct gt_tar_entry e = { .path = "a", .link = "", .size = 5ull << 30, .offset = 512 };
	gt_auto(buf) struct gt_buf index = { 0 };
	struct gt_err err;
	struct gt_tree tree;
	uint64_t bytes, n[2] = { 0 }, end = 512 + (10ull << 30);
	int fd = memfd_create("index", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(gt_tree_init(&tree, 10, &err), 0);
	assert_int_equal(gt_tree_add(&tree, &e, &err), 0);
	e.path = "b";
	e.offset += e.size;
	assert_int_equal(gt_tree_add(&tree, &e, &err), 0);
	e.path = "c";
	e.size = GT_TREE_FILE_MAX + 1;
	assert_int_equal(gt_tree_add(&tree, &e, &err), -EBADMSG);
	assert_int_equal(gt_tree_freeze(&tree, &err), 0);
	assert_int_equal(gt_erofs_write(&tree, end, id, fd, &bytes, &err), 0);
	fd_content(fd, &index);
	assert_int_equal(index.len, bytes);
	assert_null(erofs_walk((void *)index.data, index.len, end, count_one, n));
	assert_int_equal(n[1], 2);
	assert_non_null(erofs_walk((void *)index.data, index.len, end - 512, NULL, NULL));
	gt_tree_fini(&tree);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(archives_mean_what_they_say),
		cmocka_unit_test(prefixes_of_names),
		cmocka_unit_test(any_cut_in_any_form_gives_the_same),
		cmocka_unit_test(a_cut_archive_is_refused),
		cmocka_unit_test(broken_compression_is_refused),
		cmocka_unit_test(a_digest_names_the_archive),
		cmocka_unit_test(a_writer_that_failed_takes_no_more),
		cmocka_unit_test(a_root_of_any_size),
		cmocka_unit_test(a_directory_of_many_names),
		cmocka_unit_test(files_of_many_gigabytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
