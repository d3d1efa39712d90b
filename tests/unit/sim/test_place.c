/* test_place.c - the protocol over a small cluster, and that a seed decides everything but time. */
#include <gantry/base/buf.h>
#include <gantry/sim/place.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[] = "/tmp/gt-place.XXXXXX";
static char nodes[64], pods[64];

static uint64_t stopped_ns(void *arg)
{
	return *(uint64_t *)arg += 1000;
}

static void write_file(const char *path, struct gt_buf *text)
{
	gt_auto(file) FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text->data, 1, text->len, f), text->len);
}

static struct gt_sim_cluster *cluster(void)
{
	struct gt_sim_cluster *c = NULL;
	struct gt_err err = { 0 };

	if (gt_sim_cluster_read(nodes, pods, &c, &err) < 0)
		fail_msg("%s", err.text);
	return c;
}

static struct gt_sim_placed run(const struct gt_sim_cluster *c, const char *policy, uint64_t seed,
				uint64_t churn)
{
	uint64_t now = 0;
	const struct gt_sim_place p = { .policy = policy,
					.seed = seed,
					.inflate = 1.3,
					.copies = 2,
					.churn = churn,
					.clock = { .mono_ns = stopped_ns, .arg = &now } };
	struct gt_sim_placed out;
	struct gt_err err = { 0 };

	if (gt_sim_place_run(c, &p, &out, &err) < 0)
		fail_msg("%s", err.text);
	return out;
}

static void a_seed_decides_everything(void **state)
{
	gt_auto(sim_cluster) struct gt_sim_cluster *c = cluster();

	(void)state;
	for (const char *const *p = gt_sim_place_policies; *p; p++) {
		const struct gt_sim_placed a = run(c, *p, 1, 0), b = run(c, *p, 1, 0);
		const struct gt_sim_placed other = run(c, *p, 2, 0);

		assert_memory_equal(&a, &b, sizeof(a));
		assert_true(a.hash != other.hash);
		assert_int_equal(a.timed, a.tasks);
		assert_true(a.p50_us == 1 && a.p999_us == 1);
	}
}

static void as_much_is_given_as_is_asked_for_until_it_is_full(void **state)
{
	gt_auto(sim_cluster) struct gt_sim_cluster *c = cluster();
	const struct gt_sim_placed out = run(c, "gantry", 3, 0);

	(void)state;
	assert_true(out.allocation[0] >= 0);
	for (int k = 1; k < GT_SIM_PERCENTS; k++) {
		assert_true(out.allocation[k] >= out.allocation[k - 1]);
		assert_true(out.allocation[k] <= 100);
	}
	assert_true(out.allocation[50] >= 50 && out.allocation[50] < 55);
	assert_true(out.failed > 0 && out.failed < out.tasks);
}

static void churn_keeps_the_load(void **state)
{
	gt_auto(sim_cluster) struct gt_sim_cluster *c = cluster();
	const struct gt_sim_placed out = run(c, "gantry", 3, 1000);

	(void)state;
	assert_int_equal(out.timed, 1000);
	assert_true(out.allocation[100] < 0);
	assert_true(out.tasks > 1000);
}

static bool stop_at_once(void *arg, uint64_t done, uint64_t all)
{
	(void)done;
	(void)all;
	++*(int *)arg;
	return false;
}

static void bad_parameters_and_an_end_from_outside(void **state)
{
	gt_auto(sim_cluster) struct gt_sim_cluster *c = cluster();
	int calls = 0;
	struct gt_sim_place p = { .policy = "gantry",
				  .inflate = 1.3,
				  .copies = 1,
				  .clock = gt_clock_system,
				  .progress = stop_at_once,
				  .arg = &calls };
	struct gt_sim_placed out;

	(void)state;
	assert_int_equal(gt_sim_place_run(c, &p, &out, NULL), -ECANCELED);
	assert_int_equal(calls, 1);
	p.copies = 0;
	assert_int_equal(gt_sim_place_run(c, &p, &out, NULL), -EINVAL);
	p.copies = 1;
	p.inflate = 0;
	assert_int_equal(gt_sim_place_run(c, &p, &out, NULL), -EINVAL);
	p.inflate = 1;
	p.policy = "best";
	assert_int_equal(gt_sim_place_run(c, &p, &out, NULL), -EINVAL);
	assert_true(gt_sim_place_policy_ok("fgd+"));
}

static int setup(void **state)
{
	gt_auto(buf) struct gt_buf n = { 0 }, t = { 0 };
	static const char *const kinds[] = { "1,1000,",   "1,400,", "2,1000,",
					     "1,250,A|B", "0,0,",   "4,1000,A" };

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(nodes, sizeof(nodes), "%s/nodes", dir);
	snprintf(pods, sizeof(pods), "%s/pods", dir);
	gt_buf_adds(&n, "sn,cpu_milli,memory_mib,gpu,model\n");
	for (int i = 0; i < 30; i++)
		gt_buf_addf(&n, "n%d,%d,262144,%d,%c\n", i, 32000 + i % 3 * 8000, i % 3 ? 4 : 8,
			    i % 4 ? 'A' : 'B');
	gt_buf_adds(&t, "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n");
	for (int i = 0; i < 300; i++)
		gt_buf_addf(&t, "t%d,%d,8192,%s\n", i, 2000 + i % 5 * 1000,
			    kinds[i * 7 % GT_LEN(kinds)]);
	write_file(nodes, &n);
	write_file(pods, &t);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(nodes);
	unlink(pods);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_seed_decides_everything),
		cmocka_unit_test(as_much_is_given_as_is_asked_for_until_it_is_full),
		cmocka_unit_test(churn_keeps_the_load),
		cmocka_unit_test(bad_parameters_and_an_end_from_outside),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
