/* device.c - the alphabet of the Container Device Interface's names, and an operator's list of
 * them.
 */
#include <gantry/model/device.h>

#include <errno.h>
#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS  "0123456789"

/* Begins and ends with a letter or digit, the rest are those and `more`. */
static bool part_ok(const char *s, size_t len, const char *more)
{
	if (len == 0 || len > 128 || !strchr(LETTERS DIGITS, s[0]) ||
	    !strchr(LETTERS DIGITS, s[len - 1]))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!strchr(LETTERS DIGITS, s[i]) && !strchr(more, s[i]))
			return false;
	}
	return true;
}

bool gt_device_kind_ok(const char *kind)
{
	size_t vendor = strcspn(kind, "/");

	return kind[vendor] == '/' && part_ok(kind, vendor, "_-.") &&
	       part_ok(kind + vendor + 1, strlen(kind + vendor + 1), "_-.");
}

bool gt_device_part_ok(const char *name)
{
	return part_ok(name, strlen(name), "_-.:");
}

int gt_device_name_split(const char *name, char kind[GT_DEVICE_NAME_MAX + 1], const char **device,
			 struct gt_err *err)
{
	size_t len = strcspn(name, "=");

	if (len <= GT_DEVICE_NAME_MAX && name[len] == '=' && gt_device_part_ok(name + len + 1)) {
		memcpy(kind, name, len);
		kind[len] = '\0';
		*device = name + len + 1;
		if (gt_device_kind_ok(kind))
			return 0;
	}
	return gt_err_set(err, EINVAL, "device_unavailable",
			  "\"%.120s\" is no name of a device, such as vendor.com/class=name", name);
}

bool gt_device_name_allowed(const char *list, const char *name)
{
	size_t kind = strcspn(name, "=") + 1;

	for (const char *at = list; at && *at; at += *at == ',') {
		size_t len;

		at += strspn(at, " ");
		len = strcspn(at, ", ");
		if ((len == strlen(name) && strncmp(at, name, len) == 0) ||
		    (len == kind + 1 && at[kind] == '*' && strncmp(at, name, kind) == 0))
			return true;
		at += strcspn(at, ",");
	}
	return false;
}
