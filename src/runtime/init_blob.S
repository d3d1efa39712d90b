/* init_blob.S - the program of process 1 (src/runtime/init), built first and carried inside. */
	.section .rodata
	.balign 16
	.globl gt_init_blob
	.globl gt_init_blob_end
	.type gt_init_blob, @object
gt_init_blob:
	.incbin GT_INIT_PATH
gt_init_blob_end:
	.size gt_init_blob, gt_init_blob_end - gt_init_blob
	.section .note.GNU-stack, "", @progbits
