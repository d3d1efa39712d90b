/* fields.h - the shape of documents as tables. One walker reads, one writes, one compares, all over
 * the same rows, so that a member exists in every direction or in none. */
#ifndef GANTRY_WIRE_FIELDS_H
#define GANTRY_WIRE_FIELDS_H

#include <jansson.h>

#include <gantry/base/err.h>
#include <gantry/wire/json.h>

#include "refuse.h"

enum gt_field_type {
	GT_F_STR,   /* char *, at most max bytes; NULL is left out */
	GT_F_CHARS, /* char[max + 1]; "" is left out */
	GT_F_BOOL,
	GT_F_U16,
	GT_F_U32,
	GT_F_U64,
	GT_F_INT, /* int */
	GT_F_I64,
	GT_F_BYTES,      /* uint64_t; "64MiB" or a whole number of bytes */
	GT_F_DURATION,   /* uint64_t in ms; "90s" */
	GT_F_DURATION32, /* the same as uint32_t: max below 49 days */
	GT_F_ENUM,       /* an enum below max, named by enum_name */
	GT_F_STRS,       /* char ** (NULL-terminated) and a count; max elements of elem_max bytes */
	GT_F_CHARS_LIST, /* char (*)[elem_max + 1] and a count; max elements */
	GT_F_U64S,       /* uint64_t[max] */
	GT_F_OBJECT,     /* members of sub, based at offset */
	GT_F_LIST,       /* sub->size structs and a count; max elements */
	GT_F_ONE,        /* the same, always exactly one, written as an object */
	GT_F_CUSTOM,     /* its own hooks */
	GT_F_LATER,      /* known by name only: refused as not supported by this version */
	GT_F_N
};

enum {
	GT_F_NEEDED = 1, /* refused when missing or empty; always written */
	GT_F_ALWAYS = 2, /* written also when it has its default */
	GT_F_CUT = 4,    /* text for people: cut when too long, instead of refused */
};

struct gt_field;
struct gt_fields;

struct gt_field_hooks {
	int (*read)(const struct gt_field *f, const json_t *js, const struct gt_at *at, void *base,
		    struct gt_err *err);
	/* Writes nothing when the value has no form (no limit). */
	void (*write)(struct gt_json *j, const struct gt_field *f, const void *base);
	bool (*equal)(const struct gt_field *f, const void *a, const void *b);
};

struct gt_field {
	const char *name;
	enum gt_field_type type;
	unsigned flags;
	size_t offset;       /* of the value in the struct */
	size_t count_offset; /* of its size_t count */
	uint64_t min, max;   /* value, length or elements */
	size_t elem_max;     /* bytes of a string in a list; 0 = may not be empty either */
	const struct gt_fields *sub;
	const char *(*enum_name)(unsigned value);
	bool (*ok)(const char *text); /* NULL = any; for CHARS and CHARS_LIST */
	const char *wanted;           /* what ok accepts, for the refusal */
	const struct gt_field_hooks *hooks;
};

struct gt_fields {
	const struct gt_field *rows;
	size_t n;
	size_t size;          /* of the struct */
	const void *defaults; /* of a list's element; NULL = zeros */
	bool open; /* foreign, or of another version: members without a row are passed over */
};

/* Reads js into *base, which holds defaults; at is NULL at the top. On failure *base may hold a
 * part and must still be released. */
int gt_fields_read(const struct gt_fields *fields, const json_t *js, const struct gt_at *at,
		   void *base, struct gt_err *err);
/* The same for a document that is plain, without building it: ASCII without escapes, and members of
 * STR, CHARS, BOOL, whole numbers and LIST alone. False: it is not, or something is wrong: *base
 * may hold a part, must be released, and gt_fields_read has the words. */
bool gt_fields_plain(const struct gt_fields *fields, const char *text, size_t len, void *base);
/* Members equal to those in defaults (NULL = zeros) are left out, unless `all`. */
void gt_fields_write(const struct gt_fields *fields, struct gt_json *j, const char *name,
		     const void *base, const void *defaults, bool all);
bool gt_fields_equal(const struct gt_fields *fields, const void *a, const void *b);

/* For hooks. */
int gt_field_refuse_type(const struct gt_at *at, const json_t *js, const char *wanted,
			 struct gt_err *err);
/* A string without NUL characters and of at most max bytes; borrowed from js. */
int gt_field_text(const json_t *js, const struct gt_at *at, size_t max, const char **ret,
		  struct gt_err *err);
/* A size as GT_F_BYTES has it, within f's bounds. */
int gt_field_bytes(const struct gt_field *f, const json_t *js, const struct gt_at *at,
		   uint64_t *ret, struct gt_err *err);
/* Of a whole number's row. */
void gt_field_store(const struct gt_field *f, void *base, int64_t n);
int gt_field_whole(const json_t *js, const struct gt_at *at, int64_t min, int64_t max, int64_t *ret,
		   struct gt_err *err);

#endif
