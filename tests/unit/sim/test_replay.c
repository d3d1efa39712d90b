/* test_replay.c - a recorded run replays to the very same decisions, and a changed one is found. */
#include <gantry/scale/record.h>
#include <gantry/sim/replay.h>

#include <gantry/base/clock.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define S GT_NS_PER_S

static char dir[] = "/tmp/gt-replay.XXXXXX";
static char path[64];

static const char *file(struct gt_buf *text)
{
	gt_auto(file) FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(gt_buf_str(text), 1, text->len, f), text->len);
	return path;
}

/* Three functions under load that comes and goes, one of them forgotten on the way. */
static void run_record(struct gt_buf *out, uint64_t seed, unsigned steps)
{
	static const char *const names[] = { "a", "b", "c" };
	struct gt_scale_pool *pool = gt_scale_pool_new();
	struct gt_scale *scales[3] = { gt_scale_new(), gt_scale_new(), gt_scale_new() };
	uint32_t ready[3] = { 0 };
	struct gt_rand rnd = gt_rand_seeded(&seed);
	uint64_t now_ns = 77 * S;

	gt_scale_record_heading(out);
	for (unsigned i = 0; i < steps; i++) {
		uint64_t r;

		rnd.fill(rnd.arg, &r, sizeof(r));
		unsigned f = r % 3;
		struct gt_scale_in in = {
			.params = { .policy = f == 2 ? GT_SCALE_KPA : GT_SCALE_GANTRY,
				    .target = 1 + f,
				    .max = 8,
				    .idle_stated = f == 1,
				    .idle_ms = 30000,
				    .price = 20.1 },
			.in_flight = (r >> 8) % 5,
			.queued = (r >> 16) % 3,
			.ready = ready[f],
			.arrivals = (r >> 24) % 7,
			.completions = (r >> 32) % 7,
			.service_ns = (r >> 40) % 100 * GT_NS_PER_MS,
		};
		struct gt_scale_out decided;

		now_ns += (r >> 48) % 20000 * GT_NS_PER_MS;
		in.now_ns = now_ns;
		if (in.ready < in.in_flight) {
			in.starts = in.in_flight - in.ready;
			in.start_ns = in.starts * 3 * S;
			in.renew = in.ready = in.in_flight;
		}
		gt_scale_decide(scales[f], pool, &in, &decided);
		gt_scale_record_row(out, names[f], &in, &decided);
		ready[f] = decided.wanted;
		if (i == steps / 2) {
			gt_scale_record_row(out, names[0], NULL, NULL);
			gt_scale_free(scales[0]);
			scales[0] = gt_scale_new();
		}
	}
	for (unsigned f = 0; f < 3; f++)
		gt_scale_free(scales[f]);
	gt_scale_pool_free(pool);
}

static void a_record_replays_to_the_same_decisions(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		gt_auto(buf) struct gt_buf text = { 0 };
		struct gt_replay got;

		run_record(&text, seed, 2000);
		assert_int_equal(gt_replay_run(file(&text), NULL, NULL, NULL, NULL, &got, NULL), 0);
		if (got.differing)
			fail_msg("seed %llu: %s", (unsigned long long)seed, got.first);
		assert_int_equal(got.decisions, 2000);
		assert_int_equal(got.functions, 4); /* one of them twice */
	}
}

/* The n-th row's cell becomes another. */
static void cell_change(struct gt_buf *text, unsigned row, const char *column, const char *value)
{
	gt_auto(buf) struct gt_buf out = { 0 };
	gt_auto(free) char *copy = gt_strdup(gt_buf_str(text));
	char *lines = copy, *line;
	int at = -1;

	for (unsigned i = 0; (line = strsep(&lines, "\n")) && line[0]; i++) {
		char *cells = line, *cell;

		for (int k = 0; (cell = strsep(&cells, ",")); k++) {
			if (i == 0 && strcmp(cell, column) == 0)
				at = k;
			gt_buf_addf(&out, "%s%s", k ? "," : "", i == row && k == at ? value : cell);
		}
		gt_buf_adds(&out, "\n");
	}
	assert_true(at >= 0);
	gt_buf_reset(text);
	gt_buf_add(text, gt_buf_str(&out), out.len);
}

static void a_changed_decision_is_found_with_its_line(void **state)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_replay got;

	(void)state;
	run_record(&text, 5, 300);
	cell_change(&text, 100, "wanted", "777");
	assert_int_equal(gt_replay_run(file(&text), NULL, NULL, NULL, NULL, &got, NULL), 0);
	assert_int_equal(got.differing, 1);
	assert_non_null(strstr(got.first, "line 101: "));
	assert_non_null(strstr(got.first, "wanted 777"));
}

static void a_bad_row_is_refused_with_its_place(void **state)
{
	static const struct {
		const char *column, *value, *text;
	} bad[] = {
		{ "event", "decided", ":7: event: 'decided' is neither decide nor gone" },
		{ "function", "", ":7: function: a name is missing" },
		{ "policy", "knative", ":7: policy: 'knative' is no policy" },
		{ "need_rule", "dice", ":7: need_rule: 'dice' is no rule" },
		{ "now_ns", "soon", ":7: now_ns: " },
		{ "in_flight", "4294967296", ":7: in_flight: " },
		{ "idle_stated", "2", ":7: idle_stated: " },
		{ "price", "-1", ":7: price: " },
		{ "min", "9", ": min 9 is above max 8" },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(bad); i++) {
		gt_auto(buf) struct gt_buf text = { 0 };
		struct gt_err err = { 0 };
		struct gt_replay got;

		run_record(&text, 5, 20);
		cell_change(&text, 6, bad[i].column, bad[i].value);
		assert_int_equal(gt_replay_run(file(&text), NULL, NULL, NULL, NULL, &got, &err),
				 -EINVAL);
		if (!strstr(err.text, bad[i].text))
			fail_msg("\"%s\" is not in \"%s\"", bad[i].text, err.text);
	}
}

static void a_candidate_is_billed_over_the_run(void **state)
{
	gt_auto(buf) struct gt_buf text = { 0 };
	struct gt_scale_candidate candidate;
	struct gt_replay got;

	(void)state;
	run_record(&text, 5, 500);
	assert_int_equal(gt_scale_candidate_parse("gantry buffer=3", &candidate, NULL), 0);
	assert_int_equal(gt_replay_run(file(&text), NULL, &candidate, NULL, NULL, &got, NULL), 0);
	assert_int_equal(got.differing, 0);
	assert_true(got.live.replica_s > 0);
	assert_true(got.candidate.replica_s > got.live.replica_s);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/run.csv", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_replays_to_the_same_decisions),
		cmocka_unit_test(a_changed_decision_is_found_with_its_line),
		cmocka_unit_test(a_bad_row_is_refused_with_its_place),
		cmocka_unit_test(a_candidate_is_billed_over_the_run),
	};

	return cmocka_run_group_tests_name("sim/test_replay", tests, setup, teardown);
}
