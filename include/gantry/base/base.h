/* base/base.h - the few macros and allocators that every room uses. */
#ifndef GANTRY_BASE_BASE_H
#define GANTRY_BASE_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GT_LEN(a)                       (sizeof(a) / sizeof((a)[0]))
#define GT_MUST_USE                     __attribute__((warn_unused_result))
#define GT_UNUSED                       __attribute__((unused))
#define GT_PRINTF(fmt, args)            __attribute__((format(printf, fmt, args)))
#define GT_TAKES                        /* the callee becomes the owner of this argument */
#define GT_MIN(a, b)                    ((a) < (b) ? (a) : (b))
#define GT_MAX(a, b)                    ((a) > (b) ? (a) : (b))
#define GT_CONTAINER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define GT_NS_PER_US 1000ULL
#define GT_NS_PER_MS 1000000ULL
#define GT_NS_PER_S  1000000000ULL
#define GT_KIB       1024ULL
#define GT_MIB       (1024ULL * 1024)
#define GT_GIB       (1024ULL * 1024 * 1024)

/* Small allocations abort the process when memory is gone (the supervisor restarts it); what is
 * sized by input goes through gt_buf, which has a cap and can fail. */
_Noreturn void gt_out_of_memory(void); /* for those that libraries make: says so, and aborts */
void *gt_alloc(size_t size) __attribute__((malloc, returns_nonnull)); /* zeroed */
void *gt_alloc_array(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *gt_grow(void *p, size_t n, size_t size) __attribute__((returns_nonnull)); /* realloc */
char *gt_strdup(const char *s);            /* NULL stays NULL */
char *gt_strndup(const char *s, size_t n); /* always terminated */
char *gt_asprintf(const char *fmt, ...) GT_PRINTF(1, 2);
/* Copies as much as fits and always terminates; returns false when it had to cut. */
bool gt_strcopy(char *dst, size_t size, const char *src);
bool gt_streq(const char *a, const char *b); /* NULL equals only NULL */
bool gt_starts_with(const char *s, const char *prefix);

#endif
