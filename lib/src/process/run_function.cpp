// One function, then the end.
#include "process/run_function.hpp"

#include "os/memfd.hpp"
#include "pool/exception_travel.hpp"
#include "pool/worker_main.hpp"

#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/error.hpp>

#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace bulkhead::detail {
namespace {

/// A process is never made of items.
class process_context final : public task_context {
public:
    void enter(task_phase) override {}
    std::stop_token stop_token() override { return {}; }
    bool begin_item() override { return true; }
    void item_failed() override {}
    bool end_item() override { return true; }
    [[noreturn]] void leave_fork() override { std::terminate(); }
    flat_block& begin_flat(std::size_t, std::size_t) override { return nothing_; }
    bool flat_item_failed(std::size_t) override { return false; }

private:
    flat_block nothing_;
};

}  // namespace

void run_function(const std::vector<int>& fds) {
    const os::unique_fd fd(fds.at(0));
    ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0 || info.st_size < off_t{sizeof(function_header)}) {
        throw error("bulkhead: this option is for processes that bulkhead starts itself");
    }
    const auto memory =
        os::map_shared(fd.get(), static_cast<std::size_t>(info.st_size), "a process's arguments");
    function_header header;
    std::memcpy(&header, memory.data(), sizeof header);
    int code = 0;
    try {
        const auto entry = reinterpret_cast<task_entry>(resolve(header.entry));
        decoder in({memory.data() + sizeof header, static_cast<std::size_t>(header.bytes)});
        task_encoder dropped;
        process_context context;
        entry(in, dropped, context);
    } catch (...) {
        code = 1;
        const std::string sentence = describe_current_exception();
        flush_output();
        (void)std::fprintf(stderr, "bulkhead: process %d ended by an uncaught %s\n",
                           static_cast<int>(::getpid()), sentence.c_str());
    }
    flush_output();
    (void)std::fflush(nullptr);
    ::_exit(code);
}

}  // namespace bulkhead::detail
