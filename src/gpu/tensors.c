/* tensors.c - the list that both formats are read into. */
#include "tensors.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void gt_tensors_fini(struct gt_tensors *t)
{
	free(t->list);
	gt_buf_fini(&t->names);
	*t = (struct gt_tensors){ 0 };
}

int gt_tensor_refuse(struct gt_err *err, const char *name, const char *what)
{
	gt_err_set(err, EINVAL, "bad_model", "tensor \"%.200s\": %s", name, what);
	gt_err_printable(err);
	return -EINVAL;
}

int gt_tensors_add(struct gt_tensors *t, const char *name, const struct gt_tensor *one,
		   struct gt_err *err)
{
	if (t->n == GT_TENSORS_MAX)
		return gt_err_set(err, E2BIG, "bad_model", "it has more than %d tensors",
				  GT_TENSORS_MAX);
	if ((t->n & (t->n - 1)) == 0) /* a power of two, or nothing: full */
		t->list = gt_grow(t->list, t->n ? t->n * 2 : 1, sizeof(*t->list));
	t->names.max = 2 * (size_t)GT_SAFETENSORS_HEADER_MAX;
	t->list[t->n] = *one;
	t->list[t->n].name = t->names.len;
	if (gt_buf_add(&t->names, name, strlen(name) + 1) < 0)
		return gt_err_set(err, E2BIG, "bad_model", "the names of its tensors are too long");
	t->n++;
	return 0;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int gt_tensors_check_names(const struct gt_tensors *t, struct gt_err *err)
{
	gt_auto(free) const char **names = t->n ? gt_alloc_array(t->n, sizeof(*names)) : NULL;

	for (size_t i = 0; i < t->n; i++)
		names[i] = gt_tensor_name(t, i);
	if (t->n)
		qsort(names, t->n, sizeof(*names), by_text);
	for (size_t i = 1; i < t->n; i++)
		if (strcmp(names[i - 1], names[i]) == 0)
			return gt_tensor_refuse(err, names[i], "it is there twice");
	return 0;
}

int gt_tensors_pread(int fd, void *out, size_t size, uint64_t at, struct gt_err *err)
{
	for (size_t done = 0; done < size;) {
		ssize_t n = pread(fd, (char *)out + done, size - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return gt_err_errno(err, errno, "read the file");
		if (n == 0)
			return gt_err_set(err, EINVAL, "bad_model", "the file ends too early");
		done += (size_t)n;
	}
	return 0;
}

int gt_tensors_file_size(int fd, uint64_t *ret, struct gt_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "size of the file");
	if (!S_ISREG(st.st_mode))
		return gt_err_set(err, EINVAL, "bad_model", "it is no file");
	*ret = (uint64_t)st.st_size;
	return 0;
}
