/* The line that says what is going on, and how ages and times are written. */
#include "cli.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "table.h"

bool gt_progress_wanted(const struct gt_cli *cli)
{
	return cli->err_tty || cli->verbose;
}

void gt_progress(struct gt_cli *cli, const char *fmt, ...)
{
	char text[sizeof(cli->status)];
	va_list ap;

	if (!gt_progress_wanted(cli))
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strcmp(text, cli->status) == 0)
		return;
	gt_strcopy(cli->status, sizeof(cli->status), text);
	if (cli->err_tty)
		fputs("\r\033[K", cli->err);
	gt_text_print(cli->err, text);
	if (!cli->err_tty)
		fputc('\n', cli->err);
	fflush(cli->err);
}

void gt_progress_clear(struct gt_cli *cli)
{
	if (cli->err_tty && cli->status[0]) {
		fputs("\r\033[K", cli->err);
		fflush(cli->err);
	}
	cli->status[0] = '\0';
}

int gt_time_read(const char *rfc3339, uint64_t *ret_ms)
{
	struct tm tm = { 0 };
	const char *rest = strptime(rfc3339, "%Y-%m-%dT%H:%M:%S", &tm);
	uint64_t ms = 0, unit = 100;
	time_t s;

	if (!rest)
		return -EINVAL;
	if (*rest == '.')
		for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
			ms += (uint64_t)(*rest - '0') * unit;
	s = timegm(&tm);
	if (strcmp(rest, "Z") != 0 || s < 0)
		return -EINVAL;
	*ret_ms = (uint64_t)s * 1000 + ms;
	return 0;
}

void gt_age_text(const char *since, uint64_t now_ms, char *out, size_t size)
{
	uint64_t at, s;

	*out = '\0';
	if (!since || gt_time_read(since, &at) < 0)
		return;
	s = now_ms > at ? (now_ms - at) / 1000 : 0;
	if (s < 120)
		snprintf(out, size, "%us", (unsigned)s);
	else if (s < 120 * 60)
		snprintf(out, size, "%um", (unsigned)(s / 60));
	else if (s < 48 * 3600)
		snprintf(out, size, "%uh", (unsigned)(s / 3600));
	else
		snprintf(out, size, "%ud", (unsigned)(s / 86400));
}

void gt_mib_text(uint64_t bytes, char *out, size_t size)
{
	snprintf(out, size, "%.1f MiB", (double)bytes / (double)GT_MIB);
}

void gt_ms_text(double ms, char *out, size_t size)
{
	if (ms < 10)
		snprintf(out, size, "%.2f ms", ms);
	else if (ms < 1000)
		snprintf(out, size, "%.1f ms", ms);
	else
		snprintf(out, size, "%.2f s", ms / 1000);
}
