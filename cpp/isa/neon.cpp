#define FASTBPTT_UNIT neon
#define FASTBPTT_VECTOR_BYTES 16
#define FASTBPTT_TILE_ROWS 6
#define FASTBPTT_TILE_VECTORS 4
#include "../kernels/table.inc"
