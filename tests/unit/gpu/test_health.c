/* test_health.c - Xid errors: their classes, their lines in the kernel's log, and what becomes of a
 * GPU. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "health.h"
#include "kmsg.h"

#define S GT_NS_PER_S

/* The lists of the catalogue by immediate action, as the research behind the table has them:
 * written down here a second time, the other way round. */
static const uint32_t restarts[] = { 8,
				     11,
				     13,
				     25,
				     31,
				     32,
				     39,
				     40,
				     41,
				     60,
				     68,
				     69,
				     70,
				     71,
				     72,
				     75,
				     76,
				     77,
				     80,
				     82,
				     83,
				     84,
				     85,
				     86,
				     88,
				     89,
				     94,
				     96,
				     97,
				     98,
				     99,
				     100,
				     101,
				     102,
				     103,
				     104,
				     105,
				     126,
				     127,
				     128,
				     129,
				     130,
				     131,
				     132,
				     133,
				     134,
				     135,
				     139,
				     /* by our decision: */ 48,
				     109 };
static const uint32_t resets[] = { 46, 62, 64, 95, 110, 119, 120, 136, 140, 143, 155, 156, 158 };
static const uint32_t lost[] = { 79, 151 };
static const uint32_t links[] = { 74, 144, 145, 146, 147, 148, 149, 150 };
static const uint32_t ignored[] = { 37,  38,  43,  44,  45,  63,  66,  67,  92,  93, 106,
				    107, 121, 137, 141, 152, 153, 154, 157, 160, 161 };

static bool is_in(const uint32_t *list, size_t n, uint32_t xid)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == xid)
			return true;
	return false;
}

static void every_code_has_its_class(void **state)
{
	const char *words = NULL;

	(void)state;
	for (uint32_t xid = 1; xid <= GPU_XID_MAX; xid++) {
		enum gpu_xid_class want = is_in(restarts, GT_LEN(restarts), xid) ? GPU_XID_RESTART
					  : is_in(resets, GT_LEN(resets), xid)   ? GPU_XID_RESET
					  : is_in(lost, GT_LEN(lost), xid)       ? GPU_XID_LOST
					  : is_in(links, GT_LEN(links), xid)     ? GPU_XID_LINK
					  : is_in(ignored, GT_LEN(ignored), xid) ? GPU_XID_IGNORE
										 : GPU_XID_WARN;

		if (gpu_xid_class(xid, &words) != want)
			fail_msg("xid %u is of class %d", xid, gpu_xid_class(xid, &words));
		assert_true(words && words[0]);
	}
	assert_int_equal(gpu_xid_class(4711, &words), GPU_XID_WARN);
	assert_int_equal(gpu_xid_class(0, &words), GPU_XID_WARN);
}

static void lines_of_the_kernel_are_read(void **state)
{
	static const struct {
		const char *line, *pci;
		uint32_t xid;
		int32_t pid;
	} rows[] = {
		{ "4,1234,5678,-;NVRM: Xid (PCI:0000:c6:00): 79, pid=4711, name=x, GPU has fallen",
		  "0000:c6:00.0", 79, 4711 },
		{ "NVRM: Xid (0000:03:00): 31, Ch 00000010, engmask 00000101", "0000:03:00.0", 31,
		  0 },
		{ "NVRM: Xid (PCI:0000:C6:00): 13, pid='<unknown>', name=<unknown>, Graphics",
		  "0000:c6:00.0", 13, 0 },
		{ "[12.3] NVRM: Xid (PCI:00010000:c6:00): 45, pid='77', name=a", "0000:c6:00.0", 45,
		  77 },
		{ "NVRM: GPU 0000:65:00.0: GPU has fallen off the bus.", "0000:65:00.0", 79, 0 },
		{ "NVRM: GPU at PCI:0000:65:00: GPU-1\n", NULL, 0, 0 },
		{ "NVRM: Xid (PCI:zz): 79", NULL, 0, 0 },
		{ "NVRM: Xid (PCI:0000:c6:00): pid=3", NULL, 0, 0 },
		{ "NVRM: Xid (PCI:0000:c6:00", NULL, 0, 0 },
		{ "NVRM: Xid (PCI:0000:c6:00): 99999999999999999999, x", NULL, 0, 0 },
		{ "usb 1-1: Xid (PCI:0000:c6:00): 79", NULL, 0, 0 },
		{ "", NULL, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < GT_LEN(rows); i++) {
		struct gt_gpu_incident in;
		int32_t pid;

		if (gpu_xid_parse(rows[i].line, strlen(rows[i].line), &in, &pid) !=
		    (rows[i].pci != NULL))
			fail_msg("\"%s\"", rows[i].line);
		if (!rows[i].pci)
			continue;
		assert_string_equal(in.pci, rows[i].pci);
		assert_int_equal(in.xid, rows[i].xid);
		assert_int_equal(pid, rows[i].pid);
	}
}

/* Anything may stand in the kernel's log: programs write to it. */
static void no_line_is_too_odd(void **state)
{
	static const char words[] =
		"NVRM: Xid (PCI:0000:c6:00): 79, pid='1' GPU fallen off the bus";
	uint64_t seed = 99;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	for (unsigned round = 0; round < 20000; round++) {
		struct gt_gpu_incident in;
		char line[700];
		int32_t pid;
		size_t len = 0;

		while (len < sizeof(line) - 80) {
			size_t at, n;

			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			at = (seed >> 33) % (sizeof(words) - 1);
			n = GT_MIN((seed >> 50) % 40, sizeof(words) - 1 - at);
			memcpy(line + len, words + at, n);
			len += n;
			line[len++] = (char)(seed >> 56);
			if (seed >> 61 == 0)
				break;
		}
		if (gpu_xid_parse(line, len, &in, &pid))
			assert_true(in.xid > 0 && strlen(in.pci) == 12 && pid >= 0);
	}
}

static unsigned note(struct gpu_health *h, uint32_t xid, int32_t action, uint64_t now_ns)
{
	return gpu_health_note(h, &(struct gt_gpu_incident){ .xid = xid, .action = action },
			       now_ns);
}

static void the_worst_of_driver_and_table_counts(void **state)
{
	struct gpu_health h = { 0 };
	struct gt_gpu gpu = gt_gpu_unknown;

	(void)state;
	assert_int_equal(note(&h, 31, 0, S), GPU_HEALTH_TELL | GPU_HEALTH_RESTART);
	assert_false(gpu_health_apply(&h, &gpu));
	assert_int_equal(note(&h, 31, 0, S + 5),
			 GPU_HEALTH_NOTHING); /* the kernel's log says it too */
	assert_int_equal(note(&h, 31, 4, 3 * S), GPU_HEALTH_TELL | GPU_HEALTH_RESTART);
	assert_true(gpu_health_apply(&h, &gpu));
	assert_int_equal(gpu.health, GT_GPU_RESET); /* so the driver says */
	gpu_health_driver(&h, GT_GPU_WELL, "");
	assert_true(gpu_health_apply(&h, &gpu));
	assert_true(gt_gpu_healthy(&gpu) && !gpu.reason[0]);
	assert_int_equal(note(&h, 79, -1, 5 * S), GPU_HEALTH_TELL);
	assert_true(gpu_health_apply(&h, &gpu));
	assert_int_equal(gpu.health, GT_GPU_LOST);
	assert_string_equal(gpu.reason, "XID 79: the GPU has fallen off the bus");
	note(&h, 62, -1, 9 * S); /* a smaller one changes nothing */
	assert_false(gpu_health_apply(&h, &gpu));
	gpu_health_clear(&h);
	assert_true(gpu_health_apply(&h, &gpu));
	assert_true(gt_gpu_healthy(&gpu));
}

static void what_is_ignored_never_drains(void **state)
{
	struct gpu_health h = { 0 };
	struct gt_gpu gpu = gt_gpu_unknown;

	(void)state;
	for (unsigned round = 0; round < 100; round++) {
		for (size_t i = 0; i < GT_LEN(ignored); i++) {
			unsigned acts = note(&h, ignored[i], -1, (round * 100 + i + 2) * S);

			assert_false(acts & GPU_HEALTH_RESTART);
		}
		for (size_t i = 0; i < GT_LEN(links); i++)
			assert_false(note(&h, links[i], -1, (round * 100 + i + 60) * S) &
				     GPU_HEALTH_RESTART);
	}
	assert_false(gpu_health_apply(&h, &gpu));
	assert_true(gt_gpu_healthy(&gpu));
}

static void three_functions_in_an_hour_make_it_suspect(void **state)
{
	struct gpu_health h = { 0 };
	struct gt_gpu gpu = gt_gpu_unknown;

	(void)state;
	assert_false(gpu_health_failed(&h, "a", S));
	assert_false(gpu_health_failed(&h, "b", 2 * S));
	assert_false(gpu_health_failed(&h, "a", 3 * S));    /* the same again */
	assert_false(gpu_health_failed(&h, "c", 3700 * S)); /* an hour later */
	assert_false(gpu_health_failed(&h, "d", 3800 * S));
	assert_false(gpu_health_apply(&h, &gpu));
	assert_true(gpu_health_failed(&h, "e", 3900 * S));
	assert_true(gpu_health_apply(&h, &gpu));
	assert_int_equal(gpu.health, GT_GPU_DRAIN);
	gpu_health_clear(&h);
	assert_false(gpu_health_failed(&h, "e", 3901 * S));
}

/* Ten thousand errors in a second: each has its consequence, a few are told. */
static void a_storm_is_told_a_few_times(void **state)
{
	struct gpu_health h = { 0 };
	unsigned told = 0;

	(void)state;
	for (unsigned i = 0; i < 10000; i++)
		told += (note(&h, 1 + i % 172, -1, 100 * S + i) & GPU_HEALTH_TELL) != 0;
	assert_true(told <= GPU_HEALTH_TOLD);
	assert_int_equal(h.errors, GT_GPU_LOST);
	told = 0;
	for (unsigned i = 0; i < 60; i++)
		told += (note(&h, 13, -1, (200 + i) * S) & GPU_HEALTH_TELL) != 0;
	assert_int_equal(told, GPU_HEALTH_TOLD);
}

struct seen {
	unsigned n;
	struct gt_gpu_incident last;
};

static void on_line(const struct gt_gpu_incident *in, int32_t pid, void *arg)
{
	struct seen *seen = arg;

	(void)pid;
	seen->n++;
	seen->last = *in;
}

static void a_fifo_stands_for_the_log(void **state)
{
	static const char line[] = "NVRM: Xid (PCI:0000:c6:00): 13, x\n";
	char path[64];
	struct gpu_kmsg *k = NULL;
	struct gt_loop *loop = NULL;
	struct seen seen = { 0 };
	char junk[6000];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "/tmp/gantry-kmsg-%d", (int)getpid());
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(gt_loop_new(&loop, NULL), 0);
	assert_int_equal(gpu_kmsg_open(loop, path, on_line, &seen, &k, NULL), 0);
	fd = open(path, O_WRONLY);
	assert_int_equal(write(fd, line, 10), 10); /* in pieces */
	assert_int_equal(write(fd, line + 10, sizeof(line) - 11), sizeof(line) - 11);
	while (seen.n < 1)
		assert_int_equal(gt_loop_step(loop, -1, NULL), 0);
	assert_int_equal(seen.last.xid, 13);
	memset(junk, 'x', sizeof(junk)); /* longer than any line, then a good one */
	junk[sizeof(junk) - 1] = '\n';
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	close(fd); /* who wrote is gone, and another comes */
	fd = open(path, O_WRONLY);
	assert_int_equal(write(fd, line, sizeof(line) - 1), sizeof(line) - 1);
	while (seen.n < 2)
		assert_int_equal(gt_loop_step(loop, -1, NULL), 0);
	close(fd);
	gpu_kmsg_close(k);
	gt_loop_free(loop);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_code_has_its_class),
		cmocka_unit_test(lines_of_the_kernel_are_read),
		cmocka_unit_test(no_line_is_too_odd),
		cmocka_unit_test(the_worst_of_driver_and_table_counts),
		cmocka_unit_test(what_is_ignored_never_drains),
		cmocka_unit_test(three_functions_in_an_hour_make_it_suspect),
		cmocka_unit_test(a_storm_is_told_a_few_times),
		cmocka_unit_test(a_fifo_stands_for_the_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
