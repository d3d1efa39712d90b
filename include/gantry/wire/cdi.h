/* wire/cdi.h - documents of the Container Device Interface (cncf-tags/container-device-interface,
 * SPEC.md 1.1): which devices a vendor's tool describes, and what a container that gets one needs.
 * Documents are hostile: bounded, and refused with the path of what is wrong. Pure.
 *
 * No hook is ever run. Of NVIDIA's own (nvidia-ctk, nvidia-cdi-hook) what they would do is read
 * from their arguments: create-symlinks and update-ldcache become links and directories of
 * libraries; chmod, enable-cuda-compat and disable-device-node-modification ask for nothing that is
 * not so already. Any other hook is refused. */
#ifndef GANTRY_WIRE_CDI_H
#define GANTRY_WIRE_CDI_H

#include <gantry/base/buf.h>
#include <gantry/model/inject.h>

#define GT_CDI_TEXT_MAX    (1 * GT_MIB)
#define GT_CDI_DEVICES_MAX 512 /* of one document */
#define GT_CDI_LIST_MAX    256 /* of its other lists */

struct gt_cdi_strs {
	char **v;
	size_t n;
};

struct gt_cdi_node {
	char *path, *host_path; /* host_path NULL: path */
	char *type;             /* NULL: as on the node; "c", "u" or "b" */
	uint32_t major, minor; /* major 0: both as on the node; tools leave out a minor that is 0 */
	char *permissions;     /* of "rwm"; NULL: all; "m" is never given */
};

struct gt_cdi_mount {
	char *host_path, *path, *type;
	struct gt_cdi_strs options;
};

struct gt_cdi_hook {
	char *name, *path;
	struct gt_cdi_strs args;
};

struct gt_cdi_link {
	char *path, *to;
};

struct gt_cdi_edits {
	struct gt_cdi_strs env; /* "NAME=value" */
	struct gt_cdi_node *nodes;
	struct gt_cdi_mount *mounts;
	struct gt_cdi_hook *hooks;
	size_t n_nodes, n_mounts, n_hooks;
	/* What the hooks mean. */
	struct gt_cdi_link *links;
	size_t n_links;
	struct gt_cdi_strs library_dirs;
	bool driver_view; /* NVIDIA's libraries are to be told not to change device nodes */
};

struct gt_cdi_device {
	char *name;
	struct gt_cdi_edits edits;
};

struct gt_cdi {
	char *version, *kind;      /* "1.0.0", "vendor.com/class" */
	struct gt_cdi_edits edits; /* for whoever gets any of the devices */
	struct gt_cdi_device *devices;
	size_t n_devices;
};

enum gt_cdi_syntax { GT_CDI_JSON, GT_CDI_YAML };
/* -EINVAL, slug "device_unavailable"; err names the place in the document. */
GT_MUST_USE int gt_cdi_read(const char *text, size_t len, enum gt_cdi_syntax syntax,
			    struct gt_cdi **ret, struct gt_err *err);
void gt_cdi_free(struct gt_cdi *c); /* NULL is fine */
const struct gt_cdi_device *gt_cdi_find(const struct gt_cdi *c, const char *device);

/* One device of a document that this program writes. */
struct gt_cdi_own {
	char name[GT_INJECT_PATH_MAX + 1];
	const struct gt_inject *inject; /* what is particular to it; `common` has the rest */
};
/* A document in JSON. hosts: for each bind of `common`, where it is on the node. */
void gt_cdi_write(const char *kind, const struct gt_cdi_own *devices, size_t n,
		  const struct gt_inject *common, char *const *hosts, struct gt_buf *out);

GT_CLEANUP_TYPE(cdi, struct gt_cdi *, gt_cdi_free)

#endif
