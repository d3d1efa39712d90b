// A memory and bandwidth check of one GPU: writes a pattern to most of its memory, reads it back, and times copies.
// Prints one JSON object. Exit status 1: a byte was wrong.
#include <cstdio>
#include <cstdlib>
#include <cuda_runtime.h>

#define OK(x)                                                                              \
	do {                                                                               \
		cudaError_t e_ = (x);                                                      \
		if (e_ != cudaSuccess) {                                                   \
			fprintf(stderr, "%s: %s\n", #x, cudaGetErrorString(e_));           \
			exit(2);                                                           \
		}                                                                          \
	} while (0)

static __host__ __device__ unsigned mix(unsigned long long i)
{
	unsigned x = (unsigned)(i ^ (i >> 32)) * 0x9E3779B1u;

	return x ^ (x >> 15);
}

__global__ void write_pattern(unsigned *at, unsigned long long n)
{
	for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < n;
	     i += (unsigned long long)gridDim.x * blockDim.x)
		at[i] = mix(i);
}

__global__ void check_pattern(const unsigned *at, unsigned long long n, unsigned long long *wrong)
{
	unsigned long long bad = 0;

	for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < n;
	     i += (unsigned long long)gridDim.x * blockDim.x)
		bad += at[i] != mix(i);
	if (bad)
		atomicAdd(wrong, bad);
}

static double gbps(size_t bytes, cudaEvent_t a, cudaEvent_t b)
{
	float ms;

	OK(cudaEventSynchronize(b));
	OK(cudaEventElapsedTime(&ms, a, b));
	return bytes / 1e6 / ms;
}

static double copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaEvent_t a, cudaEvent_t b)
{
	OK(cudaMemcpy(to, from, bytes, kind)); // warm
	OK(cudaEventRecord(a));
	for (int i = 0; i < 4; i++)
		OK(cudaMemcpyAsync(to, from, bytes, kind));
	OK(cudaEventRecord(b));
	return gbps(4 * bytes, a, b);
}

int main()
{
	size_t free_bytes, total, part = (size_t)1 << 30;
	unsigned long long *wrong, n_wrong, n;
	void *gpu, *pinned, *plain = malloc(part);
	cudaEvent_t a, b;

	OK(cudaMemGetInfo(&free_bytes, &total));
	size_t size = free_bytes / 10 * 9;
	OK(cudaMalloc(&wrong, sizeof(*wrong)));
	OK(cudaMemset(wrong, 0, sizeof(*wrong)));
	OK(cudaMalloc(&gpu, size));
	OK(cudaMallocHost(&pinned, part));
	OK(cudaEventCreate(&a));
	OK(cudaEventCreate(&b));
	n = size / 4;
	OK(cudaEventRecord(a));
	write_pattern<<<2048, 256>>>((unsigned *)gpu, n);
	OK(cudaEventRecord(b));
	double write = gbps(size, a, b);
	OK(cudaEventRecord(a));
	check_pattern<<<2048, 256>>>((const unsigned *)gpu, n, wrong);
	OK(cudaEventRecord(b));
	double read = gbps(size, a, b);
	OK(cudaMemcpy(&n_wrong, wrong, sizeof(n_wrong), cudaMemcpyDeviceToHost));
	printf("{\"bytes\": %zu, \"wrong\": %llu, \"write_gbps\": %.1f, \"read_gbps\": %.1f, ", size, n_wrong, write, read);
	printf("\"to_gpu_pinned_gbps\": %.1f, ", copy(gpu, pinned, part, cudaMemcpyHostToDevice, a, b));
	printf("\"from_gpu_pinned_gbps\": %.1f, ", copy(pinned, gpu, part, cudaMemcpyDeviceToHost, a, b));
	printf("\"to_gpu_plain_gbps\": %.1f, ", copy(gpu, plain, part, cudaMemcpyHostToDevice, a, b));
	printf("\"from_gpu_plain_gbps\": %.1f}\n", copy(plain, gpu, part, cudaMemcpyDeviceToHost, a, b));
	return n_wrong != 0;
}
