/* label.c - labels: their alphabet, their text, and who has them. */
#include <gantry/model/label.h>

#include <stdlib.h>
#include <string.h>

#include <gantry/base/cleanup.h>

#define ALPHABET "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/"

bool gt_label_value_ok(const char *value)
{
	return strlen(value) <= GT_LABEL_MAX && value[strspn(value, ALPHABET)] == '\0';
}

bool gt_label_key_ok(const char *key)
{
	return *key && gt_label_value_ok(key);
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct gt_label *)a)->key, ((const struct gt_label *)b)->key);
}

void gt_labels_sort(struct gt_label *labels, size_t n)
{
	if (n > 1)
		qsort(labels, n, sizeof(*labels), compare);
}

bool gt_labels_have(const struct gt_label *labels, size_t n, const struct gt_label *wanted,
		    size_t n_wanted)
{
	for (size_t i = 0; i < n_wanted; i++) {
		size_t k = 0;

		while (k < n && (strcmp(labels[k].key, wanted[i].key) != 0 ||
				 strcmp(labels[k].value, wanted[i].value) != 0))
			k++;
		if (k == n)
			return false;
	}
	return true;
}

static int parse_one(char *text, struct gt_label *ret, struct gt_err *err)
{
	char *eq = strchr(text, '=');

	if (eq)
		*eq = '\0';
	if (!eq || !gt_label_key_ok(text) || !gt_label_value_ok(eq + 1))
		return gt_err_set(
			err, EINVAL, "bad_labels",
			"\"%.100s\" is no label; write key=value with letters, digits and "
			"._-/, %d at most of each",
			text, GT_LABEL_MAX);
	gt_strcopy(ret->key, sizeof(ret->key), text);
	gt_strcopy(ret->value, sizeof(ret->value), eq + 1);
	return 0;
}

int gt_labels_parse(const char *text, struct gt_label **ret, size_t *ret_n, struct gt_err *err)
{
	gt_auto(free) char *copy = gt_strdup(text ? text : "");
	struct gt_label labels[GT_LABELS_MAX];
	char *at = NULL;
	size_t n = 0;

	for (char *one = strtok_r(copy, ",", &at); one; one = strtok_r(NULL, ",", &at)) {
		if (n == GT_LABELS_MAX)
			return gt_err_set(err, EINVAL, "bad_labels",
					  "more than %d labels are too many", GT_LABELS_MAX);
		one += strspn(one, " ");
		if (parse_one(one, &labels[n], err) < 0)
			return -EINVAL;
		n++;
	}
	gt_labels_sort(labels, n);
	for (size_t i = 1; i < n; i++)
		if (strcmp(labels[i - 1].key, labels[i].key) == 0)
			return gt_err_set(err, EINVAL, "bad_labels", "\"%s\" is given twice",
					  labels[i].key);
	*ret = n ? gt_alloc_array(n, sizeof(**ret)) : NULL;
	if (n)
		memcpy(*ret, labels, n * sizeof(**ret));
	*ret_n = n;
	return 0;
}
