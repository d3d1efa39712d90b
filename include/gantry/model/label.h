/* model/label.h - what operators say of a node, and functions ask of it: keys with values. */
#ifndef GANTRY_MODEL_LABEL_H
#define GANTRY_MODEL_LABEL_H

#include <gantry/base/err.h>
#include <gantry/model/limits.h>

struct gt_label {
	char key[GT_LABEL_MAX + 1], value[GT_LABEL_MAX + 1];
};

/* Letters, digits and "._-/"; a value may be empty. */
bool gt_label_key_ok(const char *key);
bool gt_label_value_ok(const char *value);
/* "zone=a,rack=r1"; "" and NULL are none. *ret is the caller's, sorted. -EINVAL, slug bad_labels.
 */
GT_MUST_USE int gt_labels_parse(const char *text, struct gt_label **ret, size_t *ret_n,
				struct gt_err *err);
/* By key, so that equal sets are equal lists. */
void gt_labels_sort(struct gt_label *labels, size_t n);
/* Whether each of `wanted` is there with the same value. */
bool gt_labels_have(const struct gt_label *labels, size_t n, const struct gt_label *wanted,
		    size_t n_wanted);

#endif
