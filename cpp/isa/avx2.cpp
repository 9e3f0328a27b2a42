#define FASTBPTT_UNIT avx2
#define FASTBPTT_VECTOR_BYTES 32
#define FASTBPTT_TILE_ROWS 6
#define FASTBPTT_TILE_VECTORS 2
#include "../kernels/table.inc"
