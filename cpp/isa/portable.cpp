#define FASTBPTT_UNIT portable
#define FASTBPTT_VECTOR_BYTES 16
#define FASTBPTT_TILE_ROWS 4
#define FASTBPTT_TILE_VECTORS 2
#include "../kernels/table.inc"
