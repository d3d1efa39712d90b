/* test_layer_refusals.c - archives that mean harm: each is refused with its reason, at any cut of
 * its bytes, by the writer and by the extractor, and nothing but the layer's own files changes. */
#include "layer_tar.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define POKE(offset, text)                                               \
	{                                                                \
		.at = (offset), .len = sizeof(text) - 1, .bytes = (text) \
	}
#define DIR(p)                           \
	{                                \
		.path = (p), .type = '5' \
	}
#define FILE_AT(p)                       \
	{                                \
		.path = (p), .data = "x" \
	}
#define LINK(p, to)                                    \
	{                                              \
		.path = (p), .type = '2', .link = (to) \
	}
#define HARD(p, to)                                    \
	{                                              \
		.path = (p), .type = '1', .link = (to) \
	}
#define TYPED(p, t)                      \
	{                                \
		.path = (p), .type = (t) \
	}
#define PAX(text)                          \
	{                                  \
		.path = "f", .pax = (text) \
	}
#define RAW_PAX(text)                          \
	{                                      \
		.path = "f", .raw_pax = (text) \
	}
#define GLOBAL(text)                          \
	{                                     \
		.path = "f", .global = (text) \
	}

#define A50  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A250 A50 A50 A50 A50 A50

static const struct {
	const char *what, *why; /* why: part of the reason */
	struct tar_entry entries[4];
} hostile[] = {
	{ "up and out", "\"..\"", { FILE_AT("../etc/passwd") } },
	{ "up inside", "\"..\"", { DIR("a"), FILE_AT("a/../b") } },
	{ "up far", "\"..\"", { FILE_AT("a/../../../../../../tmp/x") } },
	{ "up from the root", "\"..\"", { FILE_AT("/../x") } },
	{ "only up", "\"..\"", { DIR("..") } },
	{ "up at the end", "\"..\"", { DIR("a/..") } },
	{ "up by pax", "\"..\"", { PAX("path=../x") } },
	{ "up after a shared directory", "\"..\"", { FILE_AT("a/b"), FILE_AT("a/..") } },
	{ "through a link out", "passes through", { LINK("l", "/etc"), FILE_AT("l/passwd") } },
	{ "through a link up", "passes through", { LINK("l", "../.."), DIR("l/x") } },
	{ "through a link inside", "passes through", { DIR("d"), LINK("l", "d"), DIR("l/x") } },
	{ "through a link to itself", "passes through", { LINK("l", "l"), FILE_AT("l/x") } },
	{ "through a linked link",
	  "passes through",
	  { LINK("l", "/"), HARD("m", "l"), FILE_AT("m/x") } },
	{ "through a directory made a link",
	  "passes through",
	  { FILE_AT("d/a"), LINK("d", "/etc"), FILE_AT("d/b") } },
	{ "through a file", "passes through", { FILE_AT("f"), FILE_AT("f/x") } },
	{ "through a fifo", "passes through", { TYPED("p", '6'), FILE_AT("p/x") } },
	{ "hard link out", "\"..\"", { HARD("h", "../etc/shadow") } },
	{ "hard link to the host", "not there", { HARD("h", "/etc/shadow") } },
	{ "hard link to nothing", "not there", { HARD("h", "n") } },
	{ "hard link to itself", "not there", { HARD("h", "h") } },
	{ "hard link ahead", "not there", { HARD("h", "f"), FILE_AT("f") } },
	{ "hard link to the root", "directory", { HARD("h", "/") } },
	{ "hard link to a directory", "directory", { DIR("d"), HARD("h", "d") } },
	{ "hard link through a link",
	  "passes through",
	  { LINK("l", "/etc"), HARD("h", "l/hosts") } },
	{ "hard link to a whiteout", "not there", { TYPED(".wh.f", '0'), HARD("h", "f") } },
	{ "hard link to what it replaces", "not there", { FILE_AT("d/f"), HARD("d", "d/f") } },
	{ "hard link to nowhere", "empty path", { HARD("h", "") } },
	{ "character device", "character device", { TYPED("c", '3') } },
	{ "block device", "block device", { TYPED("b", '4') } },
	{ "device beside /dev", "character device", { TYPED("devices/c", '3') } },
	{ "device in a /dev further down", "block device", { TYPED("x/dev/b", '4') } },
	{ "GNU sparse file", "sparse", { TYPED("s", 'S') } },
	{ "pax sparse file", "sparse", { PAX("GNU.sparse.major=1") } },
	{ "star sparse file", "sparse", { PAX("SCHILY.realsize=5") } },
	{ "incremental backup", "backup", { TYPED("d", 'D') } },
	{ "second volume", "backup", { TYPED("m", 'M') } },
	{ "volume label", "backup", { TYPED("v", 'V') } },
	{ "unknown type", "unknown type", { TYPED("u", 'Z') } },
	{ "wrong checksum", "checksum", { { .path = "f", .bad_sum = true } } },
	{ "size of letters", "size", { { .path = "f", .size = "0000000000z" } } },
	{ "size with a sign", "size", { { .path = "f", .size = "-0000000001" } } },
	{ "size in the middle of blanks", "size", { { .path = "f", .size = "00 00000001" } } },
	{ "negative binary size",
	  "negative",
	  { { .path = "f", .size = "\377\377\377\377\377\377\377\377\377\377\377\376" } } },
	{ "size over 64 bits",
	  "size",
	  { { .path = "f", .size = "\200\0\0\001\0\0\0\0\0\0\0\0" } } },
	{ "size over 63 bits",
	  "size",
	  { { .path = "f", .size = "\200\0\0\0\377\377\377\377\377\377\376\0" } } },
	{ "size that would wrap",
	  "size",
	  { { .path = "f", .size = "\200\0\0\0\177\377\377\377\377\377\377\377" } } },
	{ "size over the limit",
	  "more than",
	  { { .path = "f", .size = "\200\0\0\0\0\0\100\0\0\0\0\0" } } },
	{ "pax size over the limit", "more than", { PAX("size=4611686018427387904") } },
	{ "pax size too large", "number", { PAX("size=18446744073709551616") } },
	{ "pax size with a sign", "number", { PAX("size=-1") } },
	{ "mode of letters", "mode", { { .path = "f", .poke = POKE(100, "rwxr-xr-") } } },
	{ "no owner",
	  "owner",
	  { { .path = "f", .poke = POKE(108, "\200\0\0\0\377\377\377\377") } } },
	{ "group over 32 bits",
	  "owner",
	  { { .path = "f", .poke = POKE(116, "\200\0\0\001\0\0\0\0") } } },
	{ "negative owner",
	  "negative",
	  { { .path = "f", .poke = POKE(108, "\377\377\377\377\377\377\377\377") } } },
	{ "no owner by pax", "number", { PAX("uid=4294967295") } },
	{ "group of letters", "number", { PAX("gid=root") } },
	{ "time of letters", "number", { PAX("mtime=now") } },
	{ "time of two dots", "time", { PAX("mtime=1.2.3") } },
	{ "time of a dot", "time", { PAX("mtime=.") } },
	{ "time too far", "number", { PAX("mtime=99999999999999999999") } },
	{ "empty name", "empty path", { FILE_AT("") } },
	{ "long name", "longer than 255", { PAX("path=" A250 "aaaaaa") } },
	{ "long name on the way", "longer than 255", { PAX("path=x/" A250 "aaaaaa/x") } },
	{ "root as a file", "root", { FILE_AT(".") } },
	{ "root as a link", "root", { LINK(".", "/") } },
	{ "root as a hard link", "root", { FILE_AT("f"), HARD("./", "f") } },
	{ "record shorter than it is", "length", { RAW_PAX("9 path=xyz\n") } },
	{ "record longer than all", "length", { RAW_PAX("99 path=xyz\n") } },
	{ "record without a length", "length", { RAW_PAX("path=xyz\n") } },
	{ "record of length 0", "length", { RAW_PAX("0 path=x\n") } },
	{ "record of a huge length", "length", { RAW_PAX("99999999999999999999999 path=x\n") } },
	{ "record without a line's end", "length", { RAW_PAX("10 path=xy ") } },
	{ "record without a value", "key", { RAW_PAX("7 path\n") } },
	{ "record without a key", "key", { RAW_PAX("8 =path\n") } },
	{ "zeros after the records", "length", { RAW_PAX("9 path=x\n\n") } },
	{ "attribute twice", "twice", { PAX("SCHILY.xattr.user.a=1\nSCHILY.xattr.user.a=2") } },
	{ "attribute without a name", "attributes", { PAX("SCHILY.xattr.user.=1") } },
	{ "attribute of a long name", "attributes", { PAX("SCHILY.xattr.user." A250 "a=1") } },
	{ "global path", "global", { GLOBAL("path=x") } },
	{ "global link", "global", { GLOBAL("linkpath=x") } },
	{ "global size", "global", { GLOBAL("size=0") } },
	{ "global attribute", "global", { GLOBAL("SCHILY.xattr.user.a=1") } },
	{ "global sparse", "sparse", { GLOBAL("GNU.sparse.major=1") } },
	{ "directory with content", "content", { { .path = "d", .type = '5', .data = "x" } } },
	{ "directory by its slash with content", "content", { { .path = "d/", .data = "x" } } },
	{ "link with content",
	  "content",
	  { { .path = "l", .type = '2', .link = "x", .data = "x" } } },
	{ "hard link with content",
	  "content",
	  { FILE_AT("f"), { .path = "h", .type = '1', .link = "f", .data = "x" } } },
	{ "fifo with content", "content", { { .path = "p", .type = '6', .data = "x" } } },
	{ "link by pax with size",
	  "content",
	  { { .path = "l", .type = '2', .link = "x", .pax = "size=1" } } },
	{ "link to nothing", "symbolic link", { LINK("l", "") } },
	{ "whiteout of nothing", "whiteout", { TYPED(".wh.", '0') } },
	{ "whiteout of the directory", "whiteout", { TYPED("d/.wh..", '0') } },
	{ "whiteout of what is above", "whiteout", { TYPED("d/.wh...", '0') } },
	{ "reserved whiteout", "whiteout", { TYPED(".wh..wh.plnk", '0') } },
	{ "whiteout as a directory", "whiteout", { DIR(".wh.x") } },
	{ "whiteout as a link", "whiteout", { LINK(".wh.x", "/etc") } },
	{ "whiteout as a hard link", "whiteout", { FILE_AT("f"), HARD(".wh.x", "f") } },
	{ "whiteout with content", "whiteout", { FILE_AT(".wh.x") } },
	{ "opaque root with content", "whiteout", { FILE_AT(".wh..wh..opq") } },
	{ "opaque root as a directory", "whiteout", { DIR(".wh..wh..opq") } },
	{ "opaque root as a link", "whiteout", { LINK("./.wh..wh..opq", "/") } },
	{ "opaque root as a hard link", "whiteout", { FILE_AT("f"), HARD(".wh..wh..opq", "f") } },
	{ "opaque root by a way up", "\"..\"", { DIR("d"), TYPED("d/../.wh..wh..opq", '0') } },
	{ "opaque directory above the root", "\"..\"", { TYPED("../.wh..wh..opq", '0') } },
	{ "whiteout on the way", "whiteout", { FILE_AT(".wh.d/f") } },
	{ "whiteout in a hard link", "not there", { TYPED(".wh.d", '0'), HARD("h", "d/f") } },
	{ "unknown kind of archive",
	  "unknown kind",
	  { { .path = "f", .poke = POKE(257, "wurst") } } },
};

/* A directory beside what the extractor writes: nobody may touch it. */
struct ground {
	char dir[64];
	int beside, out;
	struct stat before;
};

static int ground_open(void **state)
{
	struct ground *g = gt_alloc(sizeof(*g));
	char path[96];

	gt_strcopy(g->dir, sizeof(g->dir), "/tmp/gantry-layer-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	snprintf(path, sizeof(path), "%s/out", g->dir);
	assert_int_equal(mkdir(path, 0755), 0);
	g->out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	g->beside = open(g->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(g->out >= 0 && g->beside >= 0);
	assert_int_equal(fstat(g->beside, &g->before), 0);
	*state = g;
	return 0;
}

static int ground_close(void **state)
{
	struct ground *g = *state;

	close(g->out);
	assert_int_equal(unlinkat(g->beside, "out", AT_REMOVEDIR), 0); /* still empty */
	close(g->beside);
	assert_int_equal(rmdir(g->dir), 0);
	free(g);
	return 0;
}

/* Refused by all ways in, for this reason, which is text that prints. */
static void must_refuse(struct ground *g, const char *what, const struct gt_buf *tar,
			const char *why)
{
	static const size_t steps[] = { 0, 1, 511, 513 };
	struct gt_err err = { 0 };
	struct layer l;
	struct stat now;

	for (size_t i = 0; i < GT_LEN(steps); i++) {
		int r = layer_make(&l, GT_LAYER_TAR, tar->data, tar->len, steps[i], NULL);

		if (r != -EBADMSG || strcmp(l.err.slug, "image_invalid") != 0 ||
		    !strstr(l.err.text, why))
			fail_msg("%s, steps of %zu: %d %s \"%s\"", what, steps[i], r, l.err.slug,
				 l.err.text);
		layer_close(&l);
	}
	int fd = memfd_create("tar", MFD_CLOEXEC);

	assert_int_equal(write(fd, tar->data, tar->len), tar->len);
	/* The writer's limit of bytes is not the extractor's. */
	if (!strstr(why, "more than")) {
		if (gt_layer_extract(fd, g->out, 0, &err) != -EBADMSG || !strstr(err.text, why))
			fail_msg("%s, extracted: \"%s\"", what, err.text);
	}
	close(fd);
	assert_int_equal(fstat(g->beside, &now), 0);
	assert_memory_equal(&now.st_mtim, &g->before.st_mtim, sizeof(now.st_mtim));
	assert_int_equal(now.st_nlink, g->before.st_nlink);
}

static void hostile_archives_are_refused(void **state)
{
	for (size_t i = 0; i < GT_LEN(hostile); i++) {
		gt_auto(buf) struct gt_buf tar = { 0 };

		for (size_t k = 0; k < GT_LEN(hostile[i].entries); k++)
			if (hostile[i].entries[k].path)
				tar_add(&tar, &hostile[i].entries[k]);
		tar_end(&tar);
		must_refuse(*state, hostile[i].what, &tar, hostile[i].why);
	}
	assert_true(GT_LEN(hostile) >= 60);
}

static const struct tar_entry plain_file = { .path = "f", .data = "x" };

static void the_end_is_where_it_says(void **state)
{
	static const char zeros[4096];
	static const struct {
		size_t zeros;
		bool entry;
		const char *more, *why;
	} ends[] = {
		{ 0, false, "", "too early" },         { 512, false, "", "too early" },
		{ 512, true, "", "mark of the end" },  { 1024, true, "", "after the end" },
		{ 1024, false, "x", "after the end" }, { 4096, false, "x", "after the end" },
		{ 100, false, "", "too early" },
	};

	for (size_t i = 0; i < GT_LEN(ends); i++) {
		gt_auto(buf) struct gt_buf tar = { 0 };

		tar_add(&tar, &plain_file);
		gt_buf_add(&tar, zeros, ends[i].zeros);
		if (ends[i].entry)
			tar_add(&tar, &plain_file);
		gt_buf_adds(&tar, ends[i].more);
		must_refuse(*state, ends[i].why, &tar, ends[i].why);
	}
}

/* An extended header of some type with this content. */
static void extra(struct gt_buf *tar, char type, const void *data, size_t len)
{
	tar_block(tar, &(struct tar_entry){ .type = ' ' }, type, "extra", data, len);
}

static void extended_headers_belong_to_one_entry(void **state)
{
	static const struct {
		const char *types, *why;
	} cases[] = {
		{ "x", "without its entry" }, { "L", "without its entry" },
		{ "K", "without its entry" }, { "xxf", "two extended" },
		{ "LLf", "two extended" },    { "KKf", "two extended" },
		{ "xLf", "two long names" },  { "Lxf", "two long names" },
	};

	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(buf) struct gt_buf tar = { 0 };

		for (const char *t = cases[i].types; *t; t++) {
			if (*t == 'x')
				extra(&tar, 'x', "9 path=p\n", 9);
			else if (*t == 'f')
				tar_add(&tar, &plain_file);
			else
				extra(&tar, *t, "name", 5);
		}
		tar_end(&tar);
		must_refuse(*state, cases[i].types, &tar, cases[i].why);
	}
}

static void extended_headers_are_bounded(void **state)
{
	static const struct {
		char type;
		size_t len;
		const char *why;
	} cases[] = {
		{ 'x', 0, "extended header" },       { 'L', 0, "extended header" },
		{ 'x', 1 << 20, "extended header" }, { 'g', 1 << 20, "extended header" },
		{ 'L', 4098, "extended header" },    { 'K', 4098, "extended header" },
		{ 'L', 4097, "longer than 4096" },
	};
	gt_auto(free) char *text = gt_alloc((1 << 20) + 1);

	memset(text, 'a', 1 << 20);
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(buf) struct gt_buf tar = { 0 };

		extra(&tar, cases[i].type, text, cases[i].len);
		tar_add(&tar, &plain_file);
		tar_end(&tar);
		must_refuse(*state, cases[i].why, &tar, cases[i].why);
	}
}

static void names_hold_no_nul(void **state)
{
	static const struct {
		char type;
		const char *data;
		size_t len;
	} cases[] = {
		{ 'L', "a\0b", 4 },
		{ 'K', "a\0b", 4 },
		{ 'x', "12 path=a\0b\n", 12 },
		{ 'x', "16 linkpath=a\0b\n", 16 },
	};

	for (size_t i = 0; i < GT_LEN(cases); i++) {
		gt_auto(buf) struct gt_buf tar = { 0 };

		extra(&tar, cases[i].type, cases[i].data, cases[i].len);
		tar_add(&tar, &plain_file);
		tar_end(&tar);
		must_refuse(*state, "NUL in a name", &tar, "NUL");
	}
	gt_auto(buf) struct gt_buf tar = { 0 };

	extra(&tar, 'x', "11 pa\0th=a\n", 11);
	tar_add(&tar, &plain_file);
	tar_end(&tar);
	must_refuse(*state, "NUL in a key", &tar, "key");
	gt_buf_reset(&tar);
	extra(&tar, 'x', "15 mtime=1.5\0x\n", 15);
	tar_add(&tar, &plain_file);
	tar_end(&tar);
	must_refuse(*state, "NUL in a time", &tar, "time");
}

/* A path of n components of one letter. */
static char *deep_path(unsigned n)
{
	struct gt_buf b = { 0 };

	for (unsigned i = 0; i < n; i++)
		gt_buf_adds(&b, i ? "/d" : "path=d");
	return gt_buf_steal(&b);
}

static void paths_are_bounded(void **state)
{
	gt_auto(free) char *deep = deep_path(257), *fits = deep_path(256), *far = deep_path(2060);
	gt_auto(buf) struct gt_buf tar = { 0 };
	struct layer l;

	tar_add(&tar, &(struct tar_entry){ .path = "f", .pax = deep });
	tar_end(&tar);
	must_refuse(*state, "deep", &tar, "deeper than 256");
	gt_buf_reset(&tar);
	tar_add(&tar, &(struct tar_entry){ .path = "f", .pax = far });
	tar_end(&tar);
	must_refuse(*state, "far", &tar, "longer than 4096");
	gt_buf_reset(&tar);
	tar_add(&tar, &(struct tar_entry){ .path = "f", .pax = fits });
	tar_end(&tar);
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 0, NULL), 0);
	assert_int_equal(l.res.entries, 256);
	free(layer_list(&l));
	layer_close(&l);
}

static void links_and_attributes_are_bounded(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 }, text = { 0 };

	gt_buf_adds(&text, "linkpath=");
	for (int i = 0; i < 4096; i++)
		gt_buf_addc(&text, 'x');
	tar_add(&tar, &(struct tar_entry){ .path = "l", .type = '2', .pax = text.data });
	tar_end(&tar);
	must_refuse(*state, "long link", &tar, "symbolic link of 4096");
	gt_buf_reset(&tar);
	gt_buf_reset(&text);
	for (int i = 0; i < 129; i++)
		gt_buf_addf(&text, "SCHILY.xattr.user.%d=x\n", i);
	tar_add(&tar, &(struct tar_entry){ .path = "f", .pax = text.data });
	tar_end(&tar);
	must_refuse(*state, "many attributes", &tar, "more than 128");
	gt_buf_reset(&tar);
	gt_buf_reset(&text);
	gt_buf_adds(&text, "SCHILY.xattr.user.a=");
	for (int i = 0; i < 61440; i++)
		gt_buf_addc(&text, 'x');
	tar_add(&tar, &(struct tar_entry){ .path = "f", .pax = text.data });
	tar_end(&tar);
	must_refuse(*state, "large attribute", &tar, "can not hold");
}

static void limits_hold_before_anything_is_written(void **state)
{
	static const struct gt_layer_limits few = { .entries = 3 }, small = { .bytes = 4096 };
	static const struct tar_entry four = { .path = "a/b/c/d" };
	gt_auto(buf) struct gt_buf tar = { 0 };
	gt_auto(free) char *text = gt_alloc(2001);
	struct layer l;
	struct stat st;

	(void)state;
	tar_add(&tar, &four);
	tar_end(&tar);
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 0, &few), -EBADMSG);
	assert_non_null(strstr(l.err.text, "more than 3 entries"));
	layer_close(&l);
	memset(text, 'x', 2000);
	gt_buf_reset(&tar);
	for (int i = 0; i < 2; i++)
		tar_add(&tar, &(struct tar_entry){ .path = i ? "a" : "b", .data = text });
	tar_end(&tar);
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 512, &small), -EBADMSG);
	assert_non_null(strstr(l.err.text, "more than 4096 bytes"));
	assert_int_equal(fstat(l.tar_fd, &st), 0);
	assert_true(st.st_size <= 4096);
	layer_close(&l);
	/* The same without an entry that says so: zeros after the end count too. */
	gt_buf_reset(&tar);
	for (int i = 0; i < 5; i++)
		tar_end(&tar);
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 512, &small), -EBADMSG);
	assert_non_null(strstr(l.err.text, "more than 4096 bytes"));
	layer_close(&l);
}

static void names_in_errors_print(void **state)
{
	gt_auto(buf) struct gt_buf tar = { 0 };
	struct layer l;

	(void)state;
	tar_add(&tar, &(struct tar_entry){ .path = "\033[2J\n" A50, .type = '3' });
	tar_end(&tar);
	assert_int_equal(layer_make(&l, GT_LAYER_TAR, tar.data, tar.len, 0, NULL), -EBADMSG);
	for (const char *p = l.err.text; *p; p++)
		assert_true(*p >= ' ' && *p <= '~');
	layer_close(&l);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, ground_open, ground_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(hostile_archives_are_refused),
		TEST(the_end_is_where_it_says),
		TEST(extended_headers_belong_to_one_entry),
		TEST(extended_headers_are_bounded),
		TEST(names_hold_no_nul),
		TEST(paths_are_bounded),
		TEST(links_and_attributes_are_bounded),
		TEST(limits_hold_before_anything_is_written),
		cmocka_unit_test(names_in_errors_print),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
