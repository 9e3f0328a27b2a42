#define FASTBPTT_UNIT avx512bf16
#define FASTBPTT_BASE avx512
#define FASTBPTT_VECTOR_BYTES 64
#define FASTBPTT_TILE_ROWS 6
#define FASTBPTT_TILE_VECTORS 4
#include "../kernels/table.inc"
