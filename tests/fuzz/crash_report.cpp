// The report of a crash, as a worker that is out of its mind may leave it.
#include "os/crash_report.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using bulkhead::os::crash_report;
    const auto report = std::make_unique<crash_report>();
    std::memcpy(static_cast<void*>(report.get()), data, std::min(size, sizeof *report));
    // Half of them name a file that is here, so that its symbols are looked up.
    if (size != 0 && data[0] % 2 != 0) std::strcpy(report->modules[0].data(), "/proc/self/exe");
    report->state = crash_report::written;
    const auto account = bulkhead::os::read_crash(*report, 1);
    if (!account || account->backtrace.size() > bulkhead::os::crash_frames_max) std::abort();
    return 0;
}
