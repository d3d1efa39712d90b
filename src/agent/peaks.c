/* peaks.c - see peaks.h. Never synced: what a crash damages is measured again. */
#include "peaks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/buf.h>
#include <gantry/base/log.h>
#include <gantry/model/weights.h>
#include <gantry/os/os.h>

#define NAME       "gpu-peaks"
#define HEAD       "gantry-gpu-peaks 1\n"
#define KEY_LEN    (GT_SHA256_HEX_SIZE - 1)
#define LINE_MAX   (KEY_LEN + 1 + 20 + 1)
#define FILE_MAX   (sizeof(HEAD) + KEY_LEN + 1 + (size_t)PEAKS_MAX * LINE_MAX)
#define LEAST_MORE 128 /* a rise by less than this part is not worth a write: the margin has it */

struct peaks {
	char *dir;
	size_t n;
	struct {
		char key[GT_SHA256_HEX_SIZE];
		uint64_t need;
	} of[PEAKS_MAX]; /* from old to new */
};

/* ---- the file ---- */

static bool read_line(struct peaks *p, const char *line)
{
	unsigned long long need;
	int len = 0;

	if (p->n == PEAKS_MAX || strspn(line, "0123456789abcdef") != KEY_LEN ||
	    sscanf(line + KEY_LEN, " %llu%n", &need, &len) != 1 || line[KEY_LEN + len] != '\n' ||
	    need == 0 || need > GT_GPU_BYTES_MAX)
		return false;
	gt_strcopy(p->of[p->n].key, sizeof(p->of->key), line);
	p->of[p->n++].need = need;
	return true;
}

static bool read_text(struct peaks *p, const char *text)
{
	const char *sum = text + strlen(HEAD), *at;
	char real[GT_SHA256_HEX_SIZE];

	if (!gt_starts_with(text, HEAD) || strlen(sum) <= KEY_LEN || sum[KEY_LEN] != '\n')
		return false;
	at = sum + KEY_LEN + 1;
	gt_sha256_hex(at, strlen(at), real);
	if (strncmp(real, sum, KEY_LEN) != 0)
		return false;
	for (; *at; at = strchr(at, '\n') + 1)
		if (!read_line(p, at))
			return false;
	return true;
}

static void load(struct peaks *p)
{
	gt_auto(free) char *path = gt_asprintf("%s/" NAME, p->dir);
	gt_auto(free) char *text = gt_alloc(FILE_MAX + 1);
	gt_auto(fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t len = fd >= 0 ? read(fd, text, FILE_MAX) : -1;

	if (fd < 0 && errno == ENOENT)
		return;
	if (len >= 0 && read_text(p, text))
		return;
	gt_warn("%s is damaged, or of another version, and not used: estimates of models do "
		"without what was measured until it is measured again",
		path);
	p->n = 0;
}

static int store(const struct peaks *p, struct gt_err *err)
{
	gt_auto(free) char *path = gt_asprintf("%s/" NAME, p->dir);
	gt_auto(free) char *temp = gt_asprintf("%s/" NAME ".new", p->dir);
	gt_auto(buf) struct gt_buf lines = { 0 }, out = { 0 };
	char sum[GT_SHA256_HEX_SIZE];

	gt_buf_init(&lines, FILE_MAX);
	gt_buf_init(&out, FILE_MAX);
	for (size_t i = 0; i < p->n; i++)
		gt_buf_addf(&lines, "%s %llu\n", p->of[i].key, (unsigned long long)p->of[i].need);
	gt_sha256_hex(lines.data, lines.len, sum);
	gt_buf_addf(&out, HEAD "%s\n", sum);
	gt_buf_add(&out, lines.data, lines.len);
	gt_auto(fd) int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
				  0600);
	if (fd < 0)
		return gt_err_errno(err, errno, "write %s", temp);
	errno = 0;
	if (write(fd, out.data, out.len) != (ssize_t)out.len)
		return gt_err_errno(err, errno ? errno : ENOSPC, "write %s", temp);
	if (rename(temp, path) < 0)
		return gt_err_errno(err, errno, "rename %s", temp);
	return 0;
}

/* ---- what is known ---- */

void gt_peaks_key(const struct gt_spec *spec, uint64_t weights, char ret[GT_SHA256_HEX_SIZE])
{
	const struct gt_gpu_want *gpu = &spec->resources.gpu;
	gt_auto(buf) struct gt_buf text = { 0 };
	char files[GT_WEIGHTS_KEY_SIZE];

	gt_weights_key(spec, files);
	gt_buf_init(&text, 0);
	gt_buf_addf(&text, "%s %llu %u %u %u %u", files, (unsigned long long)weights, gpu->count,
		    gpu->estimate.context, gpu->estimate.sequences,
		    (unsigned)gpu->estimate.kv_type);
	for (size_t i = 0; i < spec->n_command; i++)
		gt_buf_add(&text, spec->command[i], strlen(spec->command[i]) + 1);
	gt_sha256_hex(text.data, text.len, ret);
}

static size_t find(const struct peaks *p, const char *key)
{
	size_t i = 0;

	while (i < p->n && strcmp(p->of[i].key, key) != 0)
		i++;
	return i;
}

uint64_t gt_peaks_need(const struct peaks *p, const char *key)
{
	size_t i = find(p, key);

	return i < p->n ? p->of[i].need : 0;
}

void gt_peaks_learn(struct peaks *p, const char *key, uint64_t peak, uint64_t gpu_bytes)
{
	uint64_t had = gt_peaks_need(p, key), need;
	size_t at = find(p, key);
	struct gt_err err = { 0 };

	if (peak > gpu_bytes || gpu_bytes > GT_GPU_BYTES_MAX)
		return; /* the driver does not tell the truth */
	need = GT_MIN(peak + peak / 20, gpu_bytes);
	if (need <= had + had / LEAST_MORE)
		return;
	if (at == p->n && p->n == PEAKS_MAX)
		at = 0;
	if (at < p->n)
		memmove(p->of + at, p->of + at + 1, (--p->n - at) * sizeof(*p->of));
	gt_strcopy(p->of[p->n].key, sizeof(p->of->key), key);
	p->of[p->n++].need = need;
	if (store(p, &err) < 0)
		gt_warn("what a model needs of a GPU is not kept: %s", err.text);
}

struct peaks *gt_peaks_open(const char *dir)
{
	struct peaks *p = gt_alloc(sizeof(*p));

	p->dir = gt_strdup(dir);
	load(p);
	return p;
}

void gt_peaks_free(struct peaks *p)
{
	if (!p)
		return;
	free(p->dir);
	free(p);
}
