/* What a Cortex-M4 needs before main: its vector table, its floating-point unit, its variables. And a way out: output
   and the end of the program go through semihosting, which the emulator offers. */

#include <stddef.h>
#include <stdint.h>

extern uint32_t stack_top, data_start, data_end, data_source, bss_start, bss_end;
extern int main(void);

static int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

void print(const char *text)
{
    semihosting(0x04, text); /* SYS_WRITE0 */
}

static void leave(int status)
{
    const uint32_t report[2] = {0x20026u /* ADP_Stopped_ApplicationExit */, (uint32_t)status};
    semihosting(0x20, report); /* SYS_EXIT_EXTENDED */
    for (;;) {
    }
}

static void fault(void)
{
    print("fault\n");
    leave(2);
}

static void start(void)
{
    const uint32_t *from = &data_source;
    uint32_t *to;
    for (to = &data_start; to < &data_end; ++to)
        *to = *from++;
    for (to = &bss_start; to < &bss_end; ++to)
        *to = 0;
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: access to the floating-point unit */
    __asm__ volatile("dsb\n isb");
    leave(main());
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))(uintptr_t)&stack_top, start, fault, fault, fault, fault, fault};
