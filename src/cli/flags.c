#include "flags.h"

#include <string.h>

#include <gantry/base/cleanup.h>
#include <gantry/base/suggest.h>

#define CANDIDATES_MAX 96

struct reader {
	int argc, i;
	char **argv;
	const struct gt_flag_table *tables;
	size_t n_tables;
	struct gt_args *a;
	struct gt_err *err;
};

static const struct gt_flag *find(const struct reader *r, const char *name, size_t len, char letter)
{
	for (size_t t = 0; t < r->n_tables; t++) {
		for (size_t i = 0; i < r->tables[t].n; i++) {
			const struct gt_flag *f = &r->tables[t].flags[i];
			if (letter && f->letter == letter)
				return f;
			if (!letter && strncmp(f->name, name, len) == 0 && f->name[len] == '\0')
				return f;
		}
	}
	return NULL;
}

static int unknown(const struct reader *r, const char *name, size_t len)
{
	gt_auto(free) char *word = gt_strndup(name, len);
	const char *names[CANDIDATES_MAX], *near;
	size_t n = 0;

	for (size_t t = 0; t < r->n_tables; t++)
		for (size_t i = 0; i < r->tables[t].n && n < CANDIDATES_MAX; i++)
			names[n++] = r->tables[t].flags[i].name;
	near = gt_suggest(word, names, n);
	if (near)
		return gt_err_set(r->err, EINVAL, "usage", "unknown flag --%s; did you mean --%s?",
				  word, near);
	return gt_err_set(r->err, EINVAL, "usage", "unknown flag --%s", word);
}

static int give(const struct reader *r, const struct gt_flag *f, const char *value)
{
	struct gt_args *a = r->a;

	if (a->n_given == GT_FLAGS_MAX)
		return gt_err_set(r->err, E2BIG, "usage", "more than %d flags; use a file instead",
				  GT_FLAGS_MAX);
	if (!f->many && f->value && gt_args_has(a, f->name))
		return gt_err_set(r->err, EINVAL, "usage", "--%s is given twice", f->name);
	a->given[a->n_given].flag = f;
	a->given[a->n_given++].value = value;
	return 0;
}

/* The value in the next word, whatever it starts with; only "--" is none. */
static int next_value(struct reader *r, const struct gt_flag *f, const char **ret)
{
	const char *word = r->i + 1 < r->argc ? r->argv[r->i + 1] : NULL;

	if (!word || strcmp(word, "--") == 0)
		return gt_err_set(r->err, EINVAL, "usage", "--%s needs a value: --%s %s", f->name,
				  f->name, f->value);
	r->i++;
	*ret = word;
	return 0;
}

static int read_long(struct reader *r, const char *word)
{
	size_t len = strcspn(word, "=");
	const struct gt_flag *f = find(r, word, len, 0);
	const char *value = word[len] ? word + len + 1 : NULL;

	if (!f)
		return unknown(r, word, len);
	if (!f->value && value)
		return gt_err_set(r->err, EINVAL, "usage", "--%s takes no value", f->name);
	if (f->value && !value && next_value(r, f, &value) < 0)
		return -EINVAL;
	return give(r, f, value ? value : "");
}

/* "-f", "-fv", "-n 5", "-n5" */
static int read_letters(struct reader *r, const char *word)
{
	for (; *word; word++) {
		const struct gt_flag *f = find(r, NULL, 0, *word);
		const char *value = "";

		if (!f)
			return gt_err_set(r->err, EINVAL, "usage", "unknown flag -%c", *word);
		if (!f->value) {
			int rc = give(r, f, value);
			if (rc < 0)
				return rc;
			continue;
		}
		value = word + 1;
		if (!*value && next_value(r, f, &value) < 0)
			return -EINVAL;
		return give(r, f, value);
	}
	return 0;
}

int gt_args_read(int argc, char **argv, const struct gt_flag_table *tables, size_t n_tables,
		 bool leading, struct gt_args *ret, struct gt_err *err)
{
	struct reader r = { argc, 0, argv, tables, n_tables, ret, err };

	*ret = (struct gt_args){ .operands = argv };
	for (; r.i < argc; r.i++) {
		char *word = argv[r.i];
		int rc = 0;

		if (strcmp(word, "--") == 0) {
			ret->rest = argv + r.i + 1;
			ret->n_rest = (size_t)(argc - r.i - 1);
			return 0;
		}
		if (word[0] != '-' || word[1] == '\0') {
			if (leading) {
				ret->operands = argv + r.i;
				ret->n_operands = (size_t)(argc - r.i);
				return 0;
			}
			argv[ret->n_operands++] = word;
		} else {
			rc = word[1] == '-' ? read_long(&r, word + 2) : read_letters(&r, word + 1);
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

const char *gt_args_nth(const struct gt_args *a, const char *name, size_t i)
{
	for (size_t k = 0; k < a->n_given; k++)
		if (strcmp(a->given[k].flag->name, name) == 0 && i-- == 0)
			return a->given[k].value;
	return NULL;
}

const char *gt_args_get(const struct gt_args *a, const char *name)
{
	return gt_args_nth(a, name, 0);
}

bool gt_args_has(const struct gt_args *a, const char *name)
{
	return gt_args_get(a, name) != NULL;
}
