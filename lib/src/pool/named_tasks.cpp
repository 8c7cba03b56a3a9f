// The tasks that this program has by name, and what a worker does when it is handed one.
#include "pool/named_tasks.hpp"

#include "os/launch.hpp"
#include "os/symbols.hpp"

#include <bulkhead/named_task.hpp>

#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace bulkhead::detail {
namespace {

/// What travels in front of the arguments.
struct named_call {
    char name[task_name_max + 1];
    std::uint64_t signature;
};
static_assert(sizeof(named_call) == 72);

struct registry {
    std::mutex lock;  // libraries may be loaded, and register theirs, at any time
    std::multimap<std::string, registered_task, std::less<>> tasks;

    static registry& instance() {
        static auto& all = *new registry;  // used by constructors of globals, in any order
        return all;
    }
};

registered_task find(decoder& in) {
    named_call wanted;
    in.read_bytes(&wanted, sizeof wanted);
    const std::string_view name(wanted.name, ::strnlen(wanted.name, sizeof wanted.name));
    const std::string who = "bulkhead: the worker program " + os::program_name() + " has ";
    registry& all = registry::instance();
    const std::lock_guard guard(all.lock);
    const auto [first, last] = all.tasks.equal_range(name);
    if (first == last) {
        throw codec_error(who + "no task '" + std::string(name) + "': it needs BULKHEAD_TASK(\"" +
                          std::string(name) + "\", function) in an object file that is linked");
    }
    if (std::next(first) != last) {
        throw codec_error(who + "several tasks '" + std::string(name) + "'");
    }
    const registered_task& found = first->second;
    if (found.signature != wanted.signature) {
        throw codec_error(who + "a task '" + std::string(name) +
                          "' of another signature: " + os::readable_name(found.types) +
                          " is not what the named_task that was called says");
    }
    return found;
}

void run_named(decoder& in, encoder& out, task_context& context) { find(in).run(in, out, context); }

void run_named_chunk(decoder& in, encoder& out, task_context& context) {
    find(in).run_chunk(in, out, context);
}

}  // namespace

std::uint64_t signature_hash(const char* mangled_name,
                             std::initializer_list<std::uint64_t> layout) noexcept {
    std::uint64_t hash = 0xcbf29ce484222325;
    const auto add = [&](std::uint64_t value) { hash = (hash ^ value) * 0x100000001b3; };
    for (; *mangled_name != 0; ++mangled_name) add(static_cast<unsigned char>(*mangled_name));
    for (const std::uint64_t number : layout) add(number);
    return hash;
}

bool register_task(const registered_task& task) {
    registry& all = registry::instance();
    const std::lock_guard guard(all.lock);
    all.tasks.emplace(task.name, task);
    return true;
}

void encode_named(encoder& out, std::string_view name, std::uint64_t signature) {
    named_call call{};
    name.copy(call.name, task_name_max);
    call.signature = signature;
    out.write_bytes(&call, sizeof call);
}

task_entry named_entry_at(std::uint64_t offset) noexcept {
    return offset == named_chunk_entry.offset ? run_named_chunk : run_named;
}

}  // namespace bulkhead::detail
