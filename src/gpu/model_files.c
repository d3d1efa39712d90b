/* model_files.c - the files of a model, opened: nothing of them is read here. */
#include <gantry/gpu/model_files.h>

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gantry/os/os.h>

#define CONFIG   "config.json"
#define INDEX    "model.safetensors.index.json"
#define ENTRIES  65536 /* of a directory */
#define OPEN_HOW (O_RDONLY | O_NONBLOCK | O_NOCTTY)

void gt_model_files_fini(struct gt_model_files *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->weights[i].name);
		gt_close(f->weights[i].fd);
	}
	free(f->weights);
	gt_close(f->config_fd);
	gt_close(f->index_fd);
	*f = (struct gt_model_files){ .config_fd = -EBADF, .index_fd = -EBADF };
}

static bool is_weights(const char *name, const char *kind)
{
	size_t n = strlen(name), k = strlen(kind);

	return name[0] != '.' && n > k && strcmp(name + n - k, kind) == 0;
}

static int refuse(struct gt_err *err, int code, const char *path, const char *what)
{
	gt_err_set(err, code, "bad_model", "%s: %s", path, what);
	gt_err_printable(err);
	return -code;
}

/* A plain file; -ENOENT when there is none. A FIFO or a device is never waited for, nor read. */
static int open_file(int root, const char *dir, const char *name, int *ret, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/%s", dir, name);
	gt_auto(fd) int fd = -EBADF;
	struct stat st;
	int r = gt_os_open_in(root, path, OPEN_HOW, &fd, err);

	if (r < 0) {
		if (err)
			gt_strcopy(err->slug, sizeof(err->slug), "bad_model");
		return r;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return refuse(err, EINVAL, path, "it is no file");
	*ret = gt_steal_fd(&fd);
	return 0;
}

/* One that need not be there. */
static int open_beside(int root, const char *dir, const char *name, int *ret, struct gt_err *err)
{
	int r = open_file(root, dir, name, ret, err);

	if (r != -ENOENT)
		return r;
	gt_err_clear(err);
	return 0;
}

static int add(struct gt_model_files *f, int root, const char *dir, const char *name,
	       struct gt_err *err)
{
	int fd = -EBADF, r;

	if (f->n == GT_MODEL_FILES_MAX)
		return refuse(err, E2BIG, dir, "more than 512 files of weights");
	r = open_file(root, dir, name, &fd, err);
	if (r < 0)
		return r;
	if ((f->n & (f->n - 1)) == 0) /* a power of two, or nothing: full */
		f->weights = gt_grow(f->weights, f->n ? f->n * 2 : 1, sizeof(*f->weights));
	f->weights[f->n++] = (struct gt_model_file){ gt_strdup(name), fd };
	return 0;
}

static int add_all(struct gt_model_files *f, int root, const char *path, int dir_fd,
		   const char *kind, struct gt_err *err)
{
	int fd = dup(dir_fd), entries = 0, r = 0;
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!dir) {
		gt_close(fd);
		return gt_err_errno(err, errno, "list %s", path);
	}
	rewinddir(dir);
	while (r == 0 && (e = readdir(dir))) {
		if (entries++ == ENTRIES)
			r = refuse(err, E2BIG, path, "more than 65536 entries in the directory");
		else if (is_weights(e->d_name, kind))
			r = add(f, root, path, e->d_name, err);
	}
	closedir(dir);
	return r;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct gt_model_file *)a)->name,
		      ((const struct gt_model_file *)b)->name);
}

static int open_dir(struct gt_model_files *f, int root, const char *path, int dir_fd,
		    struct gt_err *err)
{
	int r = open_beside(root, path, CONFIG, &f->config_fd, err);

	if (r == 0)
		r = open_beside(root, path, INDEX, &f->index_fd, err);
	if (r == 0)
		r = add_all(f, root, path, dir_fd, ".safetensors", err);
	if (r == 0 && f->n == 0) {
		f->gguf = true;
		r = add_all(f, root, path, dir_fd, ".gguf", err);
	}
	if (r < 0)
		return r;
	if (f->n == 0)
		return refuse(err, ENOENT, path, "no *.safetensors and no *.gguf in the directory");
	qsort(f->weights, f->n, sizeof(*f->weights), by_name);
	return 0;
}

/* "model-00001-of-00003.gguf" is the first of its parts: all are needed. */
static int add_parts(struct gt_model_files *f, int root, const char *dir, const char *name,
		     struct gt_err *err)
{
	const char *tail = "-00001-of-NNNNN.gguf";
	size_t n = strlen(name), k = strlen(tail);
	unsigned count;
	int r = 0;

	if (n <= k || sscanf(name + n - k, "-00001-of-%5u.gguf", &count) != 1)
		return add(f, root, dir, name, err);
	for (unsigned i = 1; r == 0 && i <= count; i++) {
		gt_auto(free) char *part = gt_asprintf("%.*s-%05u-of-%05u.gguf", (int)(n - k), name,
						       i, count);

		r = add(f, root, dir, part, err);
	}
	return r;
}

static int open_one(struct gt_model_files *f, int root, const char *path, struct gt_err *err)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	gt_auto(free) char *dir = slash ? gt_strndup(path, (size_t)(slash - path)) : gt_strdup(".");

	f->gguf = is_weights(name, ".gguf");
	if (f->gguf)
		return add_parts(f, root, dir, name, err);
	if (!is_weights(name, ".safetensors"))
		return refuse(err, EINVAL, path,
			      "neither a directory nor a file *.safetensors or *.gguf");
	int r = open_beside(root, dir, CONFIG, &f->config_fd, err);

	return r < 0 ? r : add(f, root, dir, name, err);
}

int gt_model_files_open(int root_fd, const char *path, struct gt_model_files *ret,
			struct gt_err *err)
{
	gt_auto(model_files) struct gt_model_files f = { .config_fd = -EBADF, .index_fd = -EBADF };
	gt_auto(fd) int fd = -EBADF;
	struct stat st;
	int r = gt_os_open_in(root_fd, path, OPEN_HOW, &fd, err);

	if (r < 0) {
		if (err)
			gt_strcopy(err->slug, sizeof(err->slug), "bad_model");
		return r;
	}
	if (fstat(fd, &st) < 0)
		return gt_err_errno(err, errno, "%s", path);
	r = S_ISDIR(st.st_mode) ? open_dir(&f, root_fd, path, fd, err)
				: open_one(&f, root_fd, path, err);
	if (r < 0)
		return r;
	*ret = f;
	f = (struct gt_model_files){ .config_fd = -EBADF, .index_fd = -EBADF };
	return 0;
}
