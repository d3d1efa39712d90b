/* fuzz_line.c - messages between roles. What is refused says why; what is accepted is written so
 * that it reads and writes the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <gantry/wire/wire.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void must_say_why(const struct gt_err *err)
{
	must(err->code > 0 && err->text[0] && gt_problem_kind(err->slug));
}

/* The same for each kind of message: read, write, read, write, compare. */
#define ROUND_TRIP(kind)                                                         \
	static void kind##_round_trip(const char *text, size_t len)              \
	{                                                                        \
		struct gt_##kind first = { 0 }, second = { 0 };                  \
		gt_auto(buf) struct gt_buf once = { 0 }, twice = { 0 };          \
		struct gt_err err = { 0 };                                       \
                                                                                 \
		if (gt_##kind##_read(text, len, &first, &err) < 0) {             \
			must_say_why(&err);                                      \
			return;                                                  \
		}                                                                \
		gt_##kind##_write(&first, &once);                                \
		must(gt_##kind##_read(once.data, once.len, &second, NULL) == 0); \
		gt_##kind##_write(&second, &twice);                              \
		must(strcmp(once.data, twice.data) == 0);                        \
		gt_##kind##_fini(&first);                                        \
		gt_##kind##_fini(&second);                                       \
	}

ROUND_TRIP(line)
ROUND_TRIP(report)
ROUND_TRIP(demand)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	line_round_trip((const char *)data, len);
	report_round_trip((const char *)data, len);
	demand_round_trip((const char *)data, len);
	return 0;
}
