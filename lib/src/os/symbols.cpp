// ELF symbol tables (System V ABI, chapters 4 and 5), read as data: a file may be of any content.
#include "os/symbols.hpp"

#include "os/fd.hpp"

#include <algorithm>
#include <climits>
#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <memory>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

namespace bulkhead::os {
namespace {

constexpr const char* own_executable = "/proc/self/exe";
/// Of a table: in larger ones it would take too long to find a name.
constexpr std::uint64_t table_bytes_max = std::uint64_t{64} << 20;
constexpr std::size_t name_characters_max = 160;

std::string target_of(const char* link) {
    char path[PATH_MAX];
    const ssize_t length = ::readlink(link, path, sizeof path);
    return length <= 0 ? std::string() : std::string(path, static_cast<std::size_t>(length));
}

/// The file of a module that this process has loaded; empty when it has none of that path.
std::string loaded_file(const std::string& path) {
    if (is_own_executable(path)) return own_executable;
    struct request {
        const std::string* wanted;
        bool found = false;
    } asked{&path};
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* context) {
            auto& what = *static_cast<request*>(context);
            const std::string_view name = info->dlpi_name;
            if (name.empty()) return 0;
            const std::unique_ptr<char, void (*)(void*)> real(::realpath(info->dlpi_name, nullptr),
                                                              std::free);
            what.found = name == *what.wanted || (real != nullptr && *what.wanted == real.get());
            return what.found ? 1 : 0;
        },
        &asked);
    return asked.found ? path : std::string();
}

/// A file read by offsets, never beyond its end.
class image {
public:
    explicit image(const std::string& path)
        : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
        struct stat info {};
        if (file_ && (::fstat(file_.get(), &info) != 0 || !S_ISREG(info.st_mode))) file_.reset();
    }

    template <class T>
    [[nodiscard]] std::optional<T> one(std::uint64_t offset) const {
        T value{};
        if (!read(&value, sizeof value, offset)) return std::nullopt;
        return value;
    }
    /// As many as there are; none when the table makes no sense.
    template <class T>
    [[nodiscard]] std::vector<T> many(std::uint64_t offset, std::uint64_t bytes) const {
        if (bytes > table_bytes_max) return {};
        std::vector<T> values(static_cast<std::size_t>(bytes / sizeof(T)));
        if (!read(values.data(), values.size() * sizeof(T), offset)) return {};
        return values;
    }

private:
    bool read(void* to, std::size_t bytes, std::uint64_t offset) const {
        if (!file_ || offset > static_cast<std::uint64_t>(LONG_MAX) - bytes) return false;
        auto* at = static_cast<char*>(to);
        while (bytes != 0) {
            const ssize_t got = ::pread(file_.get(), at, bytes, static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR) continue;
            if (got <= 0) return false;
            at += got;
            bytes -= static_cast<std::size_t>(got);
            offset += static_cast<std::uint64_t>(got);
        }
        return true;
    }

    unique_fd file_;
};

struct wanted_name {
    std::uint64_t address;  // in the module
    std::uint64_t found_at = 0;
    std::string name{};
};

std::string shortened(std::string name) {
    if (name.size() > name_characters_max) name = name.substr(0, name_characters_max) + "...";
    return name;
}

/// The functions of one symbol table that hold the wanted addresses.
void look_up(const image& file, const ElfW(Shdr) & table, const ElfW(Shdr) & strings,
             std::vector<wanted_name>& wanted) {
    const auto text = file.many<char>(strings.sh_offset, strings.sh_size);
    if (text.empty() || text.back() != '\0') return;
    for (const auto& symbol : file.many<ElfW(Sym)>(table.sh_offset, table.sh_size)) {
        // The type's encoding is the same in both classes.
        const auto type = ELF64_ST_TYPE(symbol.st_info);
        if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_shndx == SHN_UNDEF) continue;
        if (symbol.st_name >= text.size()) continue;
        for (auto& name : wanted) {
            const bool holds =
                name.address >= symbol.st_value &&
                name.address - symbol.st_value < std::max<std::uint64_t>(symbol.st_size, 1);
            if (!holds || (!name.name.empty() && name.found_at >= symbol.st_value)) continue;
            name.found_at = symbol.st_value;
            name.name = text.data() + symbol.st_name;
        }
    }
}

void look_up(const std::string& path, std::vector<wanted_name>& wanted) {
    const image file(path);
    const auto header = file.one<ElfW(Ehdr)>(0);
    if (!header || !std::equal(header->e_ident, header->e_ident + SELFMAG, ELFMAG)) return;
    if (header->e_phentsize != sizeof(ElfW(Phdr)) || header->e_shentsize != sizeof(ElfW(Shdr))) {
        return;
    }
    // From places in the file to addresses.
    const auto segments =
        file.many<ElfW(Phdr)>(header->e_phoff, std::uint64_t{header->e_phnum} * sizeof(ElfW(Phdr)));
    for (auto& name : wanted) {
        for (const auto& segment : segments) {
            if (segment.p_type == PT_LOAD && name.address >= segment.p_offset &&
                name.address - segment.p_offset < segment.p_filesz) {
                name.address = name.address - segment.p_offset + segment.p_vaddr;
                break;
            }
        }
    }
    const auto sections =
        file.many<ElfW(Shdr)>(header->e_shoff, std::uint64_t{header->e_shnum} * sizeof(ElfW(Shdr)));
    for (const ElfW(Word) kind : {ElfW(Word){SHT_SYMTAB}, ElfW(Word){SHT_DYNSYM}}) {
        for (const auto& section : sections) {
            if (section.sh_type == kind && section.sh_link < sections.size()) {
                look_up(file, section, sections[section.sh_link], wanted);
            }
        }
    }
}

std::string hexadecimal(std::uint64_t value) {
    char text[24];
    (void)std::snprintf(text, sizeof text, "+0x%llx", static_cast<unsigned long long>(value));
    return text;
}

}  // namespace

std::string readable_name(const char* mangled) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> demangled(
        abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
    std::string name = demangled ? demangled.get() : mangled;
    static constexpr std::string_view long_string =
        "std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >";
    for (auto at = name.find(long_string); at != std::string::npos; at = name.find(long_string)) {
        name.replace(at, long_string.size(), "std::string");
    }
    return name;
}

bool is_own_executable(std::string_view path) {
    static const std::string own = target_of(own_executable);
    // The kernel's note behind the path of a file that has been removed or replaced.
    static constexpr std::string_view deleted = " (deleted)";
    if (path.ends_with(deleted)) path.remove_suffix(deleted.size());
    return path == own;
}

std::vector<code_name> names_of(const std::vector<code_place>& places,
                                const std::string& executable) {
    std::vector<code_name> names;
    for (const auto& place : places) {
        const std::string file = place.module.substr(place.module.rfind('/') + 1);
        names.push_back({{}, file + hexadecimal(place.offset)});
    }
    std::vector<std::string> modules;
    for (const auto& place : places) {
        if (std::find(modules.begin(), modules.end(), place.module) == modules.end()) {
            modules.push_back(place.module);
        }
    }
    for (const auto& module : modules) {
        const std::string path =
            !executable.empty() && module == executable ? executable : loaded_file(module);
        if (path.empty()) continue;
        std::vector<wanted_name> wanted;
        for (const auto& place : places) {
            if (place.module == module) wanted.push_back({.address = place.offset});
        }
        look_up(path, wanted);
        std::size_t next = 0;
        for (std::size_t i = 0; i != places.size(); ++i) {
            if (places[i].module != module) continue;
            const wanted_name& found = wanted[next++];
            if (found.name.empty()) continue;
            const std::string function = shortened(readable_name(found.name.c_str()));
            names[i] = {function, function + hexadecimal(found.address - found.found_at)};
        }
    }
    return names;
}

}  // namespace bulkhead::os
