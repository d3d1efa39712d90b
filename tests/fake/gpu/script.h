/* script.h - what the test doubles of the driver's libraries play: a JSON file, $GANTRY_FAKE_GPU,
 * read again whenever it changed. README.md beside this file says what may stand in it. */
#ifndef TESTS_FAKE_GPU_SCRIPT_H
#define TESTS_FAKE_GPU_SCRIPT_H

#include <jansson.h>

#define API __attribute__((visibility("default")))

/* The script, locked until script_done. */
const json_t *script_take(void);
void script_done(void);
/* 0, or the code that the script has this call return. Does not return where it hangs or crashes.
 */
int script_call(const char *name);

#define ENTER(name)                            \
	do {                                   \
		int code_ = script_call(name); \
		if (code_)                     \
			return code_;          \
	} while (0)

#endif
