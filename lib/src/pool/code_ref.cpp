// Code addresses that mean the same in another process of this program: the loaded module by a hash
// of its build id, and the offset in it.
#include "pool/named_tasks.hpp"

#include <bulkhead/error.hpp>
#include <bulkhead/task.hpp>

#include <array>
#include <cstring>
#include <elf.h>
#include <link.h>
#include <mutex>
#include <string_view>
#include <vector>

namespace bulkhead::detail {
namespace {

struct segment {
    std::uintptr_t first;
    std::uintptr_t past;
};

struct module {
    std::uint64_t id = 0;
    std::uintptr_t base = 0;
    std::vector<segment> code;

    [[nodiscard]] bool holds(std::uintptr_t address) const noexcept {
        for (const auto& part : code) {
            if (address >= part.first && address < part.past) return true;
        }
        return false;
    }
};

/// FNV-1a, 64 bits (Fowler, Noll, Vo).
std::uint64_t hash(const void* data, std::size_t bytes, std::uint64_t seed) {
    const auto* at = static_cast<const unsigned char*>(data);
    for (std::size_t i = 0; i != bytes; ++i) seed = (seed ^ at[i]) * 0x100000001b3;
    return seed;
}
constexpr std::uint64_t hash_seed = 0xcbf29ce484222325;

/// The GNU build id; without one (a linker told not to write it) what else tells modules apart.
std::uint64_t module_id(const dl_phdr_info& info) {
    for (int i = 0; i != info.dlpi_phnum; ++i) {
        const auto& header = info.dlpi_phdr[i];
        if (header.p_type != PT_NOTE) continue;
        // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader gives addresses as integers
        const auto* at = reinterpret_cast<const char*>(info.dlpi_addr + header.p_vaddr);
        const auto* end = at + header.p_memsz;
        while (at + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) note;
            std::memcpy(&note, at, sizeof note);
            const char* name = at + sizeof note;
            const char* content = name + std::size_t{note.n_namesz + 3} / 4 * 4;
            if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
                std::string_view(name, 3) == "GNU") {
                return hash(content, note.n_descsz, hash_seed);
            }
            at = content + std::size_t{note.n_descsz + 3} / 4 * 4;
        }
    }
    std::uint64_t id = hash(info.dlpi_name, std::strlen(info.dlpi_name), hash_seed);
    for (int i = 0; i != info.dlpi_phnum; ++i) {
        const auto& header = info.dlpi_phdr[i];
        const std::uint64_t fields[] = {header.p_type, header.p_vaddr, header.p_memsz};
        id = hash(fields, sizeof fields, id);
    }
    return id;
}

std::vector<module> loaded_modules() {
    std::vector<module> modules;
    ::dl_iterate_phdr(
        [](dl_phdr_info* info, std::size_t, void* out) {
            module found;
            found.base = info->dlpi_addr;
            for (int i = 0; i != info->dlpi_phnum; ++i) {
                const auto& header = info->dlpi_phdr[i];
                if (header.p_type == PT_LOAD && (header.p_flags & PF_X) != 0) {
                    const auto first = info->dlpi_addr + header.p_vaddr;
                    found.code.push_back({first, first + header.p_memsz});
                }
            }
            if (!found.code.empty()) {
                found.id = module_id(*info);
                static_cast<std::vector<module>*>(out)->push_back(std::move(found));
            }
            return 0;
        },
        &modules);
    return modules;
}

/// Tasks come again and again from the same few places.
template <class Key, class Value>
class recent {
public:
    [[nodiscard]] const Value* find(const Key& key, std::size_t hash) const noexcept {
        const auto& entry = entries_[hash % entries_.size()];
        return entry.used && entry.key == key ? &entry.value : nullptr;
    }
    void store(const Key& key, std::size_t hash, const Value& value) noexcept {
        entries_[hash % entries_.size()] = {true, key, value};
    }

private:
    struct remembered {
        bool used = false;
        Key key{};
        Value value{};
    };
    std::array<remembered, 61> entries_{};
};

}  // namespace

code_ref locate(const void* code) {
    thread_local recent<const void*, code_ref> cache;
    const auto address = reinterpret_cast<std::uintptr_t>(code);
    const std::size_t at = address / 16;
    if (const auto* known = cache.find(code, at)) return *known;
    for (const auto& module : loaded_modules()) {
        if (!module.holds(address)) continue;
        const code_ref ref{module.id, address - module.base};
        cache.store(code, at, ref);
        return ref;
    }
    throw usage_error(
        "bulkhead: the task's function lies in no loaded module (a null or dangling function "
        "pointer?)");
}

void* resolve(const code_ref& ref) {
    if (ref.module == named_module) return reinterpret_cast<void*>(named_entry_at(ref.offset));
    thread_local recent<code_ref, void*> cache;
    const auto at = static_cast<std::size_t>(ref.offset / 16);
    if (const auto* known = cache.find(ref, at)) return *known;
    for (const auto& module : loaded_modules()) {
        if (module.id != ref.module) continue;
        const auto address = module.base + static_cast<std::uintptr_t>(ref.offset);
        if (!module.holds(address)) break;
        // NOLINTNEXTLINE(performance-no-int-to-ptr): made from the module's base and an offset
        void* code = reinterpret_cast<void*>(address);
        cache.store(ref, at, code);
        return code;
    }
    throw codec_error(
        "bulkhead: the task's function is not in this worker process: it lies in a library that "
        "was loaded by dlopen, or the executable was replaced while running, or is another "
        "(process_pool_options::executable), whose tasks go by name (BULKHEAD_TASK, named_task)");
}

}  // namespace bulkhead::detail
