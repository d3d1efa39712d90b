#include "webhook_key.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <gantry/base/clock.h>
#include <gantry/base/log.h>

#define FILE_PATH "control/webhook.key"
#define LEN       (GT_WEBHOOK_KEY_SIZE - 1)

static bool is_key(const char *text)
{
	return strlen(text) == LEN && text[strspn(text, "0123456789abcdef")] == '\0';
}

static int stored(struct gt_store *store, struct gt_webhook_keys *ret, struct gt_err *err)
{
	int r = gt_store_webhook_keys(store, ret, err);

	if (r == 0 && (!ret->n || !gt_streq(ret->at[0].name, GT_WEBHOOK_NEWEST)))
		return gt_err_set(err, ENOENT, "not_found", "there is none yet");
	for (size_t i = 0; r == 0 && i < ret->n; i++)
		if (!is_key(ret->at[i].text))
			r = gt_err_set(err, EINVAL, "internal", "the key in the store is none");
	return r;
}

static void make(char ret[GT_WEBHOOK_KEY_SIZE])
{
	unsigned char bytes[LEN / 2];

	gt_rand_system.fill(gt_rand_system.arg, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

static int copy(int fd, const char *key, struct gt_err *err)
{
	if (pwrite(fd, key, LEN, 0) != LEN || ftruncate(fd, LEN) < 0)
		return gt_err_errno(err, errno, "%s", FILE_PATH);
	return 0;
}

static int file_open(struct gt_err *err)
{
	int fd = open(FILE_PATH, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? gt_err_errno(err, errno, "%s", FILE_PATH) : fd;
}

static int open_keys(struct gt_store *store, struct gt_webhook_keys *ret, struct gt_err *err)
{
	gt_auto(fd) int fd = file_open(err);
	char text[GT_WEBHOOK_KEY_SIZE + 2] = "";
	bool was;
	int r;

	if (fd < 0)
		return fd;
	if (read(fd, text, sizeof(text) - 1) < 0)
		return gt_err_errno(err, errno, "%s", FILE_PATH);
	text[strcspn(text, "\r\n")] = '\0';
	was = is_key(text);
	r = stored(store, ret, err);
	if (r == -ENOENT) {
		if (!was)
			make(text);
		r = gt_store_key_keep(store, GT_WEBHOOK_NEWEST, text,
				      was ? 0 : gt_wall_ms(&gt_clock_system), err);
		if (r == 0)
			r = stored(store, ret, err);
	}
	if (r < 0)
		return r;
	if (was && gt_streq(text, ret->at[0].text))
		return 0;
	if (was)
		gt_warn("%s had another key than the store, which is what signs", FILE_PATH);
	r = copy(fd, ret->at[0].text, err);
	if (r == 0 && fsync(fd) < 0)
		r = gt_err_errno(err, errno, "%s", FILE_PATH);
	return r;
}

int gt_webhook_keys_open(struct gt_store *store, struct gt_webhook_keys *ret, struct gt_err *err)
{
	int r = open_keys(store, ret, err);

	return r < 0 ? gt_err_wrap(err, "the key of webhooks") : 0;
}

int gt_webhook_key_copy(const struct gt_webhook_keys *keys, struct gt_err *err)
{
	gt_auto(fd) int fd = file_open(err);

	return fd < 0 ? fd : copy(fd, keys->at[0].text, err);
}
