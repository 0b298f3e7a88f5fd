#ifndef EMU_SYMBOLS_H
#define EMU_SYMBOLS_H

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <elf.h>
#include <link.h>
#include <string>
#include <vector>

/*
 * The program's own symbol table, for two things the language does not give: the names of kernels, and where the
 * __shared__ arrays are. Those are thread-local variables of functions, to tell them from other variables, and g++
 * puts the ones of templates into no section of our choice. A stripped program has neither names nor garbage.
 */

namespace emu {

struct Range {
    char *begin;
    size_t size;
};

struct Symbols {
    std::vector<ElfW(Sym)> symbols;
    std::vector<char> names;
    uintptr_t base = 0;  /* where the program was loaded */
    char *tls = nullptr; /* this thread's copy of its thread-local variables */
};

template <class T> bool read_at(FILE *file, size_t offset, T *out, size_t count)
{
    return fseek(file, static_cast<long>(offset), SEEK_SET) == 0 && fread(out, sizeof(T), count, file) == count;
}

inline Symbols read_symbols()
{
    Symbols s;
    dl_iterate_phdr(
        [](dl_phdr_info *program, size_t, void *out) { /* the program itself comes first */
            static_cast<Symbols *>(out)->base = program->dlpi_addr;
            static_cast<Symbols *>(out)->tls = static_cast<char *>(program->dlpi_tls_data);
            return 1;
        },
        &s);
    FILE *file = fopen("/proc/self/exe", "rb");
    ElfW(Ehdr) header;
    if (!file || !read_at(file, 0, &header, 1)) {
        if (file)
            fclose(file);
        return s;
    }
    std::vector<ElfW(Shdr)> sections(header.e_shnum);
    bool ok = read_at(file, header.e_shoff, sections.data(), sections.size());
    for (size_t i = 0; ok && i < sections.size(); i++)
        if (sections[i].sh_type == SHT_SYMTAB) {
            const ElfW(Shdr) &text = sections[sections[i].sh_link];
            s.symbols.resize(sections[i].sh_size / sizeof(ElfW(Sym)));
            s.names.resize(text.sh_size + 1);
            ok = read_at(file, sections[i].sh_offset, s.symbols.data(), s.symbols.size()) &&
                 read_at(file, text.sh_offset, s.names.data(), text.sh_size);
        }
    fclose(file);
    if (!ok)
        s.symbols.clear();
    return s;
}

inline const Symbols &symbols()
{
    static const Symbols table = read_symbols();
    return table;
}

/* The static __shared__ arrays: thread-local variables of C++ functions, whose mangled names begin with _ZZ. */
inline std::vector<Range> shared_arrays(const std::string &prefix = "_ZZ")
{
    const Symbols &s = symbols();
    std::vector<Range> arrays;
    for (const auto &symbol : s.symbols)
        if (s.tls && (symbol.st_info & 15) == STT_TLS && symbol.st_shndx != SHN_UNDEF &&
            strncmp(&s.names[symbol.st_name], prefix.c_str(), prefix.size()) == 0)
            arrays.push_back({s.tls + symbol.st_value, static_cast<size_t>(symbol.st_size)});
    return arrays;
}

/* "_Z7reversePfi" of the function at `address`; "" when the program was stripped. */
inline std::string mangled_name(const void *address)
{
    const Symbols &s = symbols();
    for (const auto &symbol : s.symbols)
        if ((symbol.st_info & 15) == STT_FUNC && s.base + symbol.st_value == reinterpret_cast<uintptr_t>(address))
            return &s.names[symbol.st_name];
    return "";
}

/* Those of the function at `address` itself. */
inline std::vector<Range> shared_arrays_of(const void *address)
{
    const std::string name = mangled_name(address);
    return name.size() > 2 ? shared_arrays("_ZZ" + name.substr(2) + "E") : std::vector<Range>();
}

/* "reverse(float*, int)" of the function at `address`. */
inline std::string function_name(const void *address)
{
    const std::string name = mangled_name(address);
    int status;
    char *plain = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
    const std::string readable = plain ? plain : name.empty() ? "of unknown name" : name;
    free(plain);
    return readable;
}

} // namespace emu

#endif
