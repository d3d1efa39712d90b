/* test_ids.c - each sandbox has a range of ids of its own, and what follows from that: counters of
 * the kernel, owners of files, what comes back. */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "runtime_impl.h"

#define BASE   GT_RUNTIME_ID_BASE
#define COUNT  GT_ID_RANGE
#define NTH(n) (BASE + (n)*COUNT)
#define STARTS 40

#define RUNTIME(f, ...)                                                           \
	struct fixture f;                                                         \
	if (fixture_open_with(&f, (struct gt_runtime_config){ __VA_ARGS__ }) < 0) \
		skip();

static size_t descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- ranges ---- */

static struct idranges *ids_open(void)
{
	static struct idranges ids;
	struct gt_err err;

	if (geteuid() != 0) {
		print_message("skipped: user namespaces need root\n");
		skip();
	}
	if (gt_idranges_open(&ids, BASE, &err) < 0)
		fail_msg("%s", err.text);
	return &ids;
}

static uint32_t take(struct idranges *ids)
{
	struct gt_err err;
	uint32_t base;
	int r = gt_idrange_take(ids, &base, &err);

	if (r < 0)
		fail_msg("%s", err.text);
	return base;
}

static void need_userns(struct idranges *ids, uint32_t base)
{
	struct gt_err err;
	int fd;

	if (gt_idrange_userns(ids, base, &fd, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(fd >= 0);
}

static void the_lowest_is_taken_and_none_twice(void **state)
{
	struct idranges *ids = ids_open();
	struct gt_err err;
	uint32_t base;

	(void)state;
	for (uint32_t i = 1; i < GT_ID_RANGES; i++)
		assert_int_equal(take(ids), NTH(i)); /* the first is nobody's own */
	assert_int_equal(gt_idrange_take(ids, &base, &err), -EUSERS);
	assert_non_null(strstr(err.text, "3999 ranges of user ids"));
	gt_idrange_put(ids, NTH(7u));
	gt_idrange_put(ids, NTH(5u));
	assert_int_equal(take(ids), NTH(5));
	assert_int_equal(take(ids), NTH(7));
	gt_idranges_close(ids);
}

static void thousands_leave_nothing(void **state)
{
	size_t before = descriptors();
	struct idranges *ids = ids_open();
	size_t opened = descriptors();
	uint32_t bases[40];

	(void)state;
	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < GT_LEN(bases); i++) {
			bases[i] = take(ids);
			assert_true(bases[i] <= NTH(40u));
			need_userns(ids, bases[i]);
		}
		assert_int_equal(descriptors(), opened + GT_LEN(bases));
		for (size_t i = 0; i < GT_LEN(bases); i++)
			gt_idrange_put(ids, bases[i]);
		assert_true(descriptors() <= opened + 16); /* some stay for the next ones */
	}
	/* One whose namespace is there is taken first, though it is not the lowest. */
	while (gt_idranges_shrink(ids))
		;
	bases[0] = take(ids);
	bases[1] = take(ids);
	need_userns(ids, bases[1]);
	gt_idrange_put(ids, bases[0]);
	gt_idrange_put(ids, bases[1]);
	assert_int_equal(take(ids), bases[1]);
	gt_idrange_put(ids, bases[1]);
	while (gt_idranges_shrink(ids))
		;
	assert_int_equal(descriptors(), opened);
	gt_idranges_close(ids);
	assert_int_equal(descriptors(), before);
}

/* What an earlier process gave, maybe with another base: nothing of it is given again. */
static void held_ones_are_not_given(void **state)
{
	struct idranges *ids = ids_open();

	(void)state;
	gt_idrange_hold(ids, NTH(1u));
	gt_idrange_hold(ids, NTH(3u) - 1);                /* 2 and 3 */
	gt_idrange_hold(ids, BASE - COUNT);               /* none */
	gt_idrange_hold(ids, BASE - COUNT + 1);           /* the first */
	gt_idrange_hold(ids, 65536);                      /* as an adopted one's of a lower base */
	gt_idrange_hold(ids, UINT32_MAX - COUNT);         /* and of a higher one */
	gt_idrange_hold(ids, NTH(GT_ID_RANGES - 1u) + 9); /* the last */
	assert_int_equal(take(ids), NTH(4));
	gt_idrange_put(ids, NTH(3u) - 1);
	gt_idrange_put(ids, UINT32_MAX - COUNT);
	assert_int_equal(take(ids), NTH(2));
	assert_int_equal(take(ids), NTH(3));
	gt_idrange_put(ids, NTH(1u));
	assert_int_equal(take(ids), NTH(1));
	assert_int_equal(take(ids), NTH(5));
	gt_idranges_close(ids);
}

/* Groups of earlier versions do not tell: theirs was the one range that there was. */
static void names_tell_the_range(void **state)
{
	static const struct {
		const char *name;
		uint32_t base;
	} cases[] = {
		{ "1f-8a3b5c-2a-286a0", NTH(1u) },
		{ "1f-8a3b5c-ffffffffffff-70010000", 0x70010000 },
		{ "4194303-8a3b5c-18", BASE },
		{ "4194303-8a3b5c-184467440737095", BASE },
		{ "leaf", BASE },
	};
	struct gt_runtime rt = { 0 };

	(void)state;
	rt.ids.base = BASE;
	for (size_t i = 0; i < GT_LEN(cases); i++) {
		struct sandbox box = { .rt = &rt };

		gt_strcopy(box.where.sandbox, sizeof(box.where.sandbox), cases[i].name);
		gt_sandbox_hold_ids(&box);
		assert_int_equal(box.id_base, cases[i].base);
	}
	assert_int_equal(rt.ids.v[0].users, 3);
	assert_int_equal(rt.ids.v[1].users, 1);
}

/* ---- containers ---- */

static void start(struct fixture *f, const char *function, struct gt_spec *spec, struct run *run)
{
	struct gt_container_args args = { .function = function, .revision = 1 };

	if (run_start_as(f, args, spec, run) < 0)
		fail_msg("refused: %s", run->err.text);
}

static void finish(struct fixture *f, struct run *run)
{
	fixture_until(f, &run->exited);
	run_read(run);
	if (run->failed)
		fail_msg("%s", run->err.text);
}

/* Until it has printed something. */
static void listen_to(struct fixture *f, struct run *run)
{
	fixture_until(f, &run->started);
	while (run->text.len == 0 && !run->exited) {
		assert_int_equal(gt_loop_step(f->loop, 10, NULL), 0);
		run_read(run);
	}
}

static uint32_t host_root_of(const struct run *run)
{
	char path[64];
	unsigned inside, outside, count;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%d/uid_map", (int)run->where.pid);
	in = fopen(path, "re");
	assert_non_null(in);
	assert_int_equal(fscanf(in, "%u %u %u", &inside, &outside, &count), 3);
	fclose(in);
	assert_int_equal(inside, 0);
	assert_int_equal(count, COUNT);
	return outside;
}

static void no_two_share_one(void **state)
{
	static const char *const functions[] = { "one", "one", "two", "one", "two" };
	struct run runs[GT_LEN(functions)];
	uint32_t roots[GT_LEN(functions)];

	(void)state;
	RUNTIME(f, .pool = 2, .prepared_max = 2);
	for (size_t i = 0; i < GT_LEN(runs); i++) {
		start(&f, functions[i], fixture_shell("sleep 100"), &runs[i]);
		fixture_until(&f, &runs[i].started);
		if (runs[i].failed)
			fail_msg("%s", runs[i].err.text);
		roots[i] = host_root_of(&runs[i]);
		assert_int_equal(roots[i], fixture_id_base(&runs[i]));
		assert_true(roots[i] >= NTH(1u));
		for (size_t k = 0; k < i; k++)
			assert_int_not_equal(roots[i], roots[k]);
	}
	for (size_t i = 0; i < GT_LEN(runs); i++)
		run_close(&runs[i]);
	fixture_close(&f);
}

static void they_come_back(void **state)
{
	uint32_t most = 0;

	(void)state;
	RUNTIME(f, .pool = 1, .pool_max = 2, .prepared_max = 1);
	for (int i = 0; i < STARTS; i++) {
		struct run run;

		start(&f, "short", fixture_shell("true"), &run);
		finish(&f, &run);
		most = GT_MAX(most, fixture_id_base(&run));
		run_close(&run);
	}
	assert_true(most < NTH(12u)); /* a few live, prepared, staged and dying */
	fixture_close(&f);
}

/* With nobody who asks for anything any more. */
static void namespaces_come_back(void **state)
{
	uint64_t until_ns = gt_mono_ns(&gt_clock_system) + 10000 * GT_NS_PER_MS;
	struct gt_spec *spec = fixture_shell("true");
	struct gt_container_args args = { .function = "idle", .revision = 1, .spec = spec };
	size_t before;

	(void)state;
	RUNTIME(f, .prepared_max = 1, .prepared_idle_ms = 500);
	before = descriptors();
	/* Each time begins the idle time anew: on a slow machine it may be over too early. */
	while (gt_runtime_waiting(f.rt).prepared == 0) {
		assert_true(gt_mono_ns(&gt_clock_system) < until_ns);
		assert_int_equal(gt_runtime_prepare(f.rt, &args, NULL), 0);
		assert_int_equal(gt_loop_step(f.loop, 10, NULL), 0);
	}
	while (descriptors() > before && gt_mono_ns(&gt_clock_system) < until_ns)
		assert_int_equal(gt_loop_step(f.loop, 100, NULL), 0);
	assert_int_equal(descriptors(), before);
	gt_spec_free(spec);
	fixture_close(&f);
}

/* Opens as many as the kernel lets it, tells how that ended, and keeps them. */
#define EXHAUST                                                                                  \
	"exec perl -e '$n = 0; $n++ while $n < 200000 && syscall(294, 0) >= 0;" /* inotify_init1 \
										 */              \
	"syswrite STDOUT, ($! + 0) . \"\\n\"; sleep 100'"
#define ONE_MORE "exec perl -e 'print syscall(294, 0) >= 0 ? \"fine\\n\" : \"$!\\n\"'"

static void one_can_not_use_up_what_another_needs(void **state)
{
	static const char *const functions[] = { "greedy", "other" };
	struct run greedy, next;

	(void)state;
	if (access("/usr/bin/perl", X_OK) < 0) {
		print_message("skipped: perl is not here\n");
		skip();
	}
	RUNTIME(f, .pool = 1);
	start(&f, "greedy", fixture_shell(EXHAUST), &greedy);
	listen_to(&f, &greedy);
	assert_string_equal(gt_buf_str(&greedy.text), "24\n"); /* EMFILE */
	for (size_t i = 0; i < GT_LEN(functions); i++) {
		start(&f, functions[i], fixture_shell(ONE_MORE), &next);
		finish(&f, &next);
		assert_string_equal(gt_buf_str(&next.text), "fine\n");
		run_close(&next);
	}
	run_close(&greedy);
	fixture_close(&f);
}

/* ---- volumes ---- */

static struct gt_spec *with_volume(const char *dir, bool readonly, const char *script)
{
	struct gt_spec *spec = fixture_shell(script);

	fixture_mount(spec, dir, "/mnt", readonly);
	return spec;
}

static void make_volume(const struct fixture *f, char path[160])
{
	snprintf(path, 160, "%s/volume", f->dir);
	assert_int_equal(mkdir(path, 0755), 0);
}

static void in_volume(struct fixture *f, const char *function, struct gt_spec *spec,
		      uint32_t *ret_root, const char *text)
{
	struct run run;

	start(f, function, spec, &run);
	finish(f, &run);
	assert_string_equal(gt_buf_str(&run.text), text);
	*ret_root = fixture_id_base(&run);
	run_close(&run);
}

static void owners_in_a_volume_are_the_same_for_all(void **state)
{
	char dir[160], path[200];
	uint32_t writer, reader;
	struct stat st;

	(void)state;
	RUNTIME(f, .pool = 2);
	make_volume(&f, dir);
	in_volume(&f, "writer",
		  with_volume(dir, false,
			      "echo x > /mnt/f; chmod 600 /mnt/f; chown 33:34 /mnt/f;"
			      "echo y > /mnt/g; stat -c '%u %g' /mnt/f /mnt/g"),
		  &writer, "33 34\n0 0\n");
	in_volume(&f, "reader", with_volume(dir, true, "cat /mnt/f; stat -c '%u %g' /mnt/f /mnt/g"),
		  &reader, "x\n33 34\n0 0\n");
	assert_true(writer >= NTH(1u) && reader >= NTH(1u)); /* neither has the shared one */
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 33);
	fixture_close(&f);
}

/* ramfs can not: whoever may write there has the first range, as in earlier versions. */
static void unmapped_volume(struct fixture *f, const char *dir)
{
	char path[200];
	uint32_t root;
	struct stat st;

	assert_int_equal(chown(dir, BASE, BASE), 0);
	for (int i = 0; i < 2; i++) {
		/* The second is prepared ahead. */
		in_volume(f, "first",
			  with_volume(dir, false, "echo x >> /mnt/f; stat -c '%u %g' /mnt /mnt/f"),
			  &root, "0 0\n0 0\n");
		assert_int_equal(root, BASE);
		fixture_until_waiting(f, 1, 1);
	}
	in_volume(f, "second", with_volume(dir, false, "echo y >> /mnt/f; wc -l < /mnt/f"), &root,
		  "3\n");
	assert_int_equal(root, BASE);
	in_volume(f, "third", with_volume(dir, true, "cat /mnt/f; stat -c %u /mnt/f"), &root,
		  "x\nx\ny\n65534\n");
	assert_true(root >= NTH(1u)); /* reading needs no owner */
	snprintf(path, sizeof(path), "%s/f", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, BASE);
}

static void where_ids_can_not_be_mapped_owners_stay(void **state)
{
	char dir[160];

	(void)state;
	RUNTIME(f, .pool = 1, .prepared_max = 4);
	make_volume(&f, dir);
	assert_int_equal(mount("none", dir, "ramfs", 0, "mode=0755"), 0);
	unmapped_volume(&f, dir);
	umount2(dir, MNT_DETACH);
	fixture_close(&f);
}

/* ---- a later process ---- */

static void begin_again(struct fixture *f)
{
	struct gt_runtime_config config = { .dir = f->dir, .allow_host_image = true };
	struct gt_err err;

	gt_runtime_free(f->rt);
	assert_int_equal(gt_runtime_new(f->loop, &config, &f->rt, &err), 0);
}

static void adopt(struct fixture *f, struct run *run)
{
	struct gt_container_events events = { .arg = NULL };
	struct gt_err err;

	if (gt_container_adopt(f->rt, &run->where, run->status, &events, &run->c, &run->how, &err) <
	    0)
		fail_msg("%s", err.text);
}

static void adopted_ones_keep_theirs(void **state)
{
	struct run runs[2], next;

	(void)state;
	RUNTIME(f, .pool = 0);
	for (size_t i = 0; i < GT_LEN(runs); i++) {
		start(&f, "live", fixture_shell("sleep 100"), &runs[i]);
		fixture_until(&f, &runs[i].started);
		gt_container_leave(runs[i].c);
	}
	assert_int_equal(host_root_of(&runs[0]), NTH(1));
	assert_int_equal(host_root_of(&runs[1]), NTH(2));
	begin_again(&f);
	adopt(&f, &runs[0]);
	runs[1].c = NULL;
	gt_runtime_sweep(f.rt); /* the other one is being killed, and has its ids till it is gone */
	start(&f, "next", fixture_shell("true"), &next);
	finish(&f, &next);
	if (fixture_id_base(&next) != NTH(3)) { /* it was gone by then */
		assert_int_equal(fixture_id_base(&next), NTH(2));
		assert_false(gt_runtime_busy(f.rt));
	}
	run_close(&next);
	while (gt_runtime_busy(f.rt))
		assert_int_equal(gt_loop_step(f.loop, 100, NULL), 0);
	start(&f, "next", fixture_shell("true"), &next);
	finish(&f, &next);
	assert_int_not_equal(fixture_id_base(&next), NTH(1));
	run_close(&next);
	for (size_t i = 0; i < GT_LEN(runs); i++)
		run_close(&runs[i]);
	fixture_close(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_lowest_is_taken_and_none_twice),
		cmocka_unit_test(thousands_leave_nothing),
		cmocka_unit_test(held_ones_are_not_given),
		cmocka_unit_test(names_tell_the_range),
		cmocka_unit_test(no_two_share_one),
		cmocka_unit_test(they_come_back),
		cmocka_unit_test(namespaces_come_back),
		cmocka_unit_test(one_can_not_use_up_what_another_needs),
		cmocka_unit_test(owners_in_a_volume_are_the_same_for_all),
		cmocka_unit_test(where_ids_can_not_be_mapped_owners_stay),
		cmocka_unit_test(adopted_ones_keep_theirs),
	};

	return cmocka_run_group_tests_name("ids", tests, NULL, NULL);
}
