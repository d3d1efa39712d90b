/* base/err.h - errors as values: a negative errno for the program, a stable slug for API clients,
 * a text for people. By value and of fixed size, so that reporting an error can not fail.
 *
 * The call that fails names the object; each caller adds what it alone knows with gt_err_wrap;
 * only the edge (API, CLI, a role's main) logs. A NULL err is allowed everywhere. */
#ifndef GANTRY_BASE_ERR_H
#define GANTRY_BASE_ERR_H

#include <errno.h>

#include <gantry/base/base.h>

struct gt_err {
	int code;       /* positive errno; 0 = no error */
	char slug[40];  /* names a row of model/problem.tbl where the API shows it */
	char path[160]; /* JSON path of the mistake, "" when it is not about a document */
	char text[600];
};

/* Each returns -code, so that a failing function can `return gt_err_set(...)`. */
int gt_err_set(struct gt_err *err, int code, const char *slug, const char *fmt, ...)
	GT_PRINTF(4, 5);
/* slug "system_error"; the text ends in ": strerror(code)". */
int gt_err_errno(struct gt_err *err, int code, const char *fmt, ...) GT_PRINTF(3, 4);
/* Puts "context: " before the text; returns -err->code. */
int gt_err_wrap(struct gt_err *err, const char *fmt, ...) GT_PRINTF(2, 3);
/* Names the JSON path ("scale.max") beside the text. Returns -err->code. */
int gt_err_path(struct gt_err *err, const char *fmt, ...) GT_PRINTF(2, 3);
/* Control characters in text and path become '?': for what repeats words from outside. */
void gt_err_printable(struct gt_err *err);
void gt_err_clear(struct gt_err *err);

/* A positive errno: was there no descriptor or memory? That says nothing of what was asked for, and
 * a later try may do better. */
static inline bool gt_err_is_want(int code)
{
	return code == EMFILE || code == ENFILE || code == ENOMEM;
}

#endif
