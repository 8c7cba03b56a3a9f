// The parent's side of a crash report.
#include "os/crash_report.hpp"

#include "os/symbols.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>

namespace bulkhead::os {
namespace {

/// A fault so near to the stack pointer is the stack's: a function's frame is seldom larger.
constexpr std::uint64_t below_stack_bytes_max = std::uint64_t{256} << 10;
constexpr std::uint64_t above_stack_bytes_max = 4096;

/// What runs a task is the same for all.
constexpr std::string_view serving_function = "bulkhead::detail::serve(";
constexpr std::string_view no_file = "?";

/// The text up to its end, without what a terminal would act on.
std::string clean(const std::array<char, 256>& text) {
    std::string path(text.begin(), std::find(text.begin(), text.end(), '\0'));
    std::replace_if(
        path.begin(), path.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    return path;
}

/// By its file; or by its name, where the C library is linked statically or wrapped by a sanitizer.
bool is_runtime(std::string_view path, std::string_view function) {
    // The other name of a sanitizer's abort(): which of the two the symbols give goes by the link.
    static constexpr std::string_view wrapper = "__interceptor_";
    if (function.starts_with(wrapper)) function.remove_prefix(wrapper.size());
    for (const std::string_view name :
         {"abort", "raise", "gsignal", "pthread_kill", "__assert_fail", "std::terminate()"}) {
        if (function == name) return true;
    }
    const std::string_view file = path.substr(path.rfind('/') + 1);
    for (const std::string_view library :
         {"libc.so", "libc-", "libstdc++.so", "libc++.so", "libc++abi.so", "libgcc_s.so",
          "libpthread", "ld-linux"}) {
        if (file.starts_with(library)) return true;
    }
    return path == no_file;
}

}  // namespace

std::optional<crash_account> read_crash(const crash_report& report, int pid,
                                        const std::string& executable) {
    const auto state = report.state.load(std::memory_order_acquire);
    if (state != crash_report::written && state != crash_report::writing) return std::nullopt;
    // One copy: its writer may have children that still have the memory.
    std::array<crash_report::frame, crash_frames_max> frames;
    std::memcpy(frames.data(), report.frames.data(), sizeof frames);
    const std::size_t count = std::min<std::size_t>(report.frames_count, crash_frames_max);
    const std::uint32_t signal = report.signal;

    crash_account account;
    account.signal = signal < NSIG ? static_cast<int>(signal) : 0;
    account.complete = state == crash_report::written;
    if (!account.complete) return account;
    const auto sender = report.sender;
    account.by_itself = sender == 0 || sender == pid;
    account.fault_address = report.fault_address;
    account.data_bytes = report.data_bytes;
    const std::uint64_t stack = report.stack_pointer;
    account.stack_overflow = account.signal == SIGSEGV && account.fault_address != 0 &&
                             account.fault_address < stack + above_stack_bytes_max &&
                             account.fault_address + below_stack_bytes_max > stack;

    std::vector<code_place> places;
    for (std::size_t i = 0; i != count; ++i) {
        code_place place{std::string(no_file), frames[i].offset};
        if (frames[i].module < crash_modules_max)
            place.module = clean(report.modules[frames[i].module]);
        // A return address lies behind its call, perhaps behind its function.
        if (frames[i].is_return_address != 0 && place.offset != 0) --place.offset;
        places.push_back(std::move(place));
    }
    const auto names = names_of(places, executable);
    for (std::size_t i = 0; i != count; ++i) {
        if (names[i].function.starts_with(serving_function)) break;
        account.backtrace.push_back(names[i].text);
        if (account.where.empty() && !is_runtime(places[i].module, names[i].function)) {
            account.where = names[i].function.empty() ? names[i].text : names[i].function;
        }
    }
    return account;
}

}  // namespace bulkhead::os
