#ifndef EMU_SWITCH_H
#define EMU_SWITCH_H

#include <cstdint>
#include <cstring>

#include "sanitizers.h"

/* Saves the callee-saved registers and the stack pointer in *save and continues with those saved at `load`. */
extern "C" void emu_switch(void **save, void *load);

#if defined(__x86_64__)
asm(R"(
.pushsection .text
.weak emu_switch
.type emu_switch,@function
emu_switch:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size emu_switch,.-emu_switch
.popsection
)");
#elif defined(__aarch64__)
asm(R"(
.pushsection .text
.weak emu_switch
.type emu_switch,%function
emu_switch:
  sub sp,sp,#160
  stp x19,x20,[sp,#0]; stp x21,x22,[sp,#16]; stp x23,x24,[sp,#32]; stp x25,x26,[sp,#48]
  stp x27,x28,[sp,#64]; stp x29,x30,[sp,#80]; stp d8,d9,[sp,#96]; stp d10,d11,[sp,#112]
  stp d12,d13,[sp,#128]; stp d14,d15,[sp,#144]
  mov x9,sp; str x9,[x0]; mov sp,x1
  ldp x19,x20,[sp,#0]; ldp x21,x22,[sp,#16]; ldp x23,x24,[sp,#32]; ldp x25,x26,[sp,#48]
  ldp x27,x28,[sp,#64]; ldp x29,x30,[sp,#80]; ldp d8,d9,[sp,#96]; ldp d10,d11,[sp,#112]
  ldp d12,d13,[sp,#128]; ldp d14,d15,[sp,#144]
  add sp,sp,#160
  ret
.size emu_switch,.-emu_switch
.popsection
)");
#else
#error "emu_switch is written for x86-64 and AArch64; this machine needs its own"
#endif

namespace emu {

/* A stack that ends at `end`, made to look as if its owner were about to enter `entry`: to be given to emu_switch. */
EMU_NO_TSAN inline void *fresh_stack(char *end, void (*entry)())
{
    void **sp = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(end) & ~static_cast<uintptr_t>(15));
#if defined(__x86_64__)
    *--sp = nullptr; /* at entry the stack pointer is 8 modulo 16, as after a call */
    *--sp = reinterpret_cast<void *>(entry);
    for (int i = 0; i < 6; i++)
        *--sp = nullptr;
#else
    sp -= 20;
    memset(sp, 0, 160);
    sp[11] = reinterpret_cast<void *>(entry); /* x30, the return address */
#endif
    return sp;
}

} // namespace emu

#endif
