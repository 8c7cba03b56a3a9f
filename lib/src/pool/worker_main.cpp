// The worker's loop: receive, decode, run, encode, publish.
#include "pool/worker_main.hpp"

#include "channel/worker_port.hpp"
#include "os/crash_report.hpp"
#include "os/fork_count.hpp"
#include "os/procfs.hpp"
#include "pool/chunk_outcomes.hpp"
#include "pool/exception_travel.hpp"
#include "pool/output_pipe.hpp"
#include "pool/stop_watcher.hpp"
#include "ring/recent_objects.hpp"

#include <bulkhead/detail/progress_sink.hpp>
#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/task.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <malloc.h>
#include <mutex>
#include <stop_token>
#include <unistd.h>
#include <vector>

namespace bulkhead::detail {
namespace {

using channel::result_kind;
using channel::task_envelope;
using channel::worker_port;

/// Of what a codec keeps alive and no descriptor leads to: the latest so many, as nobody says when the parent
/// has decoded it.
constexpr std::size_t kept_objects_max = 1024;

/// Of one chunk: with so many it ends, as the parent takes them when it has ended. Few: what is under way is the
/// user's, who may have no more than 'ulimit -n' of them, in all processes.
constexpr std::size_t descriptors_under_way_max = 8;
static_assert(descriptors_under_way_max < channel::messages_of_one_max);

/// Of its limit: a worker that has more after a task is replaced, before the next tasks fail for want of
/// memory.
constexpr double worn_at_part = 0.75;

/// By the parent, which reads at once, unless it is stopped or another process goes on writing.
constexpr std::chrono::milliseconds output_read_within{500};

bool has_grown(std::uint64_t memory_max_bytes) {
    const auto bytes_max =
        static_cast<std::uint64_t>(worn_at_part * static_cast<double>(memory_max_bytes));
    if (os::own_private_bytes() < bytes_max) return false;
    ::malloc_trim(0);  // what is free already is no reason
    return os::own_private_bytes() >= bytes_max;
}

/// Mappings of what the last tasks were handed.
class unmapping final : public channel::idle_work {
public:
    explicit unmapping(channel::known_segments& segments) : segments_(segments) {
        objects_.enable();
    }
    [[nodiscard]] bool pending() const override { return objects_.any() || segments_.any(); }
    void run() override {
        objects_.drop();
        segments_.drop();
    }
    [[nodiscard]] std::chrono::milliseconds after() const override {
        return std::chrono::duration_cast<std::chrono::milliseconds>(
            ring::recent_objects::keep_for);
    }
    void age() {
        objects_.age();
        segments_.age();
    }

private:
    ring::recent_objects& objects_ = ring::recent_objects::of_this_process();
    channel::known_segments& segments_;
};

class worker final : public task_context, public progress_sink {
public:
    explicit worker(worker_port& port) : port_(port) {
        if (port.output_by_task()) {
            pipes_ = {output_pipe(STDOUT_FILENO), output_pipe(STDERR_FILENO)};
        }
    }

    void run(const task_envelope& task) {
        out_.clear();
        timed_ = task.timed != 0;
        any_begun_ = false;
        sent_ = false;
        descriptors_under_way_ = 0;
        result_kind kind = task.chunk != 0 ? result_kind::items : result_kind::value;
        try {
            const auto entry = reinterpret_cast<task_entry>(resolve(task.entry));
            decoder in(port_.arguments());
            if (task.chunk != 0) chunk_.begin();
            entry(in, out_, *this);
        } catch (...) {
            end_if_forked();
            kind = result_kind::exception;
            encode_failure(out_);
        }
        end_if_forked();
        if (watcher_) watcher_->done();
        end_output();
        if (sent_) return;
        look_at_growth();
        if (kind != result_kind::items) {
            give(kind, out_);
            chunk_.drop();
        } else if (!chunk_.finish(assembled_)) {
            give(kind, assembled_);
        }
        out_.kept().clear();  // the parent has it
    }

    void enter(task_phase phase) override {
        end_if_forked();
        port_.enter(phase);
    }

    void report(task_progress now) noexcept override {
        if (forks_.load(std::memory_order_relaxed) != own_forks_)
            return;  // the record has one writer
        const std::lock_guard one_at_a_time(reporting_);
        port_.report(now);
    }

    std::stop_token stop_token() override {
        if (!watcher_) watcher_.emplace(port_);
        return watcher_->watch(port_.ticket());
    }

    bool begin_item() override {
        out_.clear();
        threw_ = false;
        if (timed_) {
            port_.start_clock();
            // Pairs with condemn()'s: either it sees this clock, or this item does not begin.
            std::atomic_thread_fence(std::memory_order_seq_cst);
            if (any_begun_ && port_.abandoned()) return false;
            any_begun_ = true;
        }
        port_.begin_item();
        port_.enter(task_phase::decode);
        return true;
    }

    void item_failed() override {
        end_if_forked();
        encode_failure(out_);
        threw_ = true;
    }

    bool end_item() override {
        if (!out_.kept().empty()) hand_over_item();
        if (!chunk_.add(threw_, out_.bytes())) {
            try {
                chunk_.assemble(assembled_, threw_, out_.bytes());
                give_assembled();
                return false;
            } catch (...) {
                item_failed();  // no memory to put it together: it is the item that fails, and no other
                if (!chunk_.add(threw_, out_.bytes())) throw;
            }
        }
        return !has_many_under_way() && !port_.abandoned();
    }

    [[noreturn]] void leave_fork() override { detail::leave_fork(); }

    flat_block& begin_flat(std::size_t items, std::size_t bytes_each) override {
        flat_block& block = chunk_.begin_flat(items, bytes_each);
        block.timed = timed_;
        block.forks = &forks_;
        block.own_forks = own_forks_;
        return block;
    }

    bool flat_item_failed(std::size_t item) override {
        item_failed();
        if (!out_.kept().empty()) hand_over_item();
        if (has_many_under_way() || !chunk_.add_flat_error(item, out_.bytes())) {
            chunk_.assemble_flat(assembled_, item, out_.bytes());
            give_assembled();
            return false;
        }
        return true;
    }

private:
    void end_if_forked() {
        if (forks_.load(std::memory_order_relaxed) != own_forks_) leave_fork();
    }

    /// The exception being handled; when that does not encode, the one that its encoding threw.
    static void encode_failure(task_encoder& to) {
        to.clear();
        try {
            encode_current_exception(to);
        } catch (...) {
            to.clear();
            encode_current_exception(to);
        }
    }

    /// Before the result is given: the parent sends no more tasks then.
    void look_at_growth() {
        if (port_.memory_max_bytes() != 0 && has_grown(port_.memory_max_bytes())) port_.is_worn();
    }

    /// Of a chunk whose block is full: what there is for now.
    void give_assembled() {
        end_output();
        look_at_growth();
        give(result_kind::items, assembled_);
        chunk_.drop();
        sent_ = true;
    }

    /// Of the task, before its end is told: what it wrote is read as its own while the parent sees it run. Not
    /// for ever, as a process that it started may go on writing.
    void end_output() {
        flush_output();
        if (pipes_.empty()) return;
        const auto until = std::chrono::steady_clock::now() + output_read_within;
        for (const auto& pipe : pipes_) pipe.await_reader(until);
    }

    void give(result_kind kind, task_encoder& result) {
        const std::size_t bytes = result.size();
        try {
            if (!result.kept().empty()) (void)refer_to_kept(result);
            if (std::byte* block = result.take_block()) {
                port_.finish_in_place(kind, block, bytes);
            } else {
                port_.finish(kind, result.bytes(), result.shared());
            }
        } catch (...) {
            // No memory for a large result, or what it refers to cannot be sent: a small one says so.
            port_.refer_to({});
            encode_failure(result);
            port_.finish(result_kind::exception, result.bytes(), nullptr);
        }
    }

    /// What handles in a result name goes to the parent with it, which then does without this process. How many
    /// objects these are.
    [[gnu::cold]] std::size_t refer_to_kept(task_encoder& result) {
        std::vector<int> descriptors;
        for (const auto& one : result.kept()) {
            if (one.descriptor >= 0) {
                descriptors.push_back(one.descriptor);
            } else {
                kept_.push_back(one.object);
                if (kept_.size() > kept_objects_max) kept_.pop_front();
            }
        }
        std::sort(descriptors.begin(), descriptors.end());
        descriptors.erase(std::unique(descriptors.begin(), descriptors.end()), descriptors.end());
        const std::size_t count = descriptors.size();
        port_.refer_to(std::move(descriptors));
        return count;
    }

    [[nodiscard]] bool has_many_under_way() const noexcept {
        return descriptors_under_way_ >= descriptors_under_way_max;
    }

    /// The same of a chunk's item, before it counts as done.
    [[gnu::cold]] void hand_over_item() {
        try {
            if (const std::size_t count = refer_to_kept(out_)) {
                port_.send_references();
                descriptors_under_way_ += count;
            }
        } catch (...) {
            item_failed();
        }
        out_.kept().clear();
    }

    worker_port& port_;
    std::vector<output_pipe> pipes_;  // read before a task's end is told; none: nobody asks whose
    const std::atomic<unsigned>& forks_ = os::fork_counter();
    const unsigned own_forks_ = forks_.load();
    task_encoder out_{&port_};
    task_encoder assembled_;
    chunk_outcomes chunk_{port_};
    bool timed_ = false;
    bool any_begun_ = false;                 // of a timed chunk's items
    std::size_t descriptors_under_way_ = 0;  // of this chunk
    bool threw_ = false;
    bool sent_ = false;
    std::optional<stop_watcher> watcher_;
    std::mutex reporting_;
    std::deque<std::shared_ptr<const void>> kept_;
};

}  // namespace

void flush_output() noexcept {
    try {
        std::cout.flush();
    } catch (...) {
        // As at a program's end: nobody is left to hear of it.
    }
    (void)std::fflush(stdout);
}

void leave_fork() {
    flush_output();
    (void)std::fprintf(
        stderr,
        "bulkhead: process %d, which a task has forked, came to the end of the "
        "task's function and ends here; let such a process end by _exit() or exec()\n",
        static_cast<int>(::getpid()));
    ::_exit(EXIT_FAILURE);
}

void serve(const std::vector<int>& fds) {
    worker_port port(fds);  // never destroyed, nor is the worker: its stop_watcher looks at both
    worker self(port);
    set_process_sink(&self);
    os::report_crashes_to(port.crash());
    if (port.memory_max_bytes() != 0) os::limit_own_memory(port.memory_max_bytes());
    unmapping mappings(port.segments());
    while (const task_envelope* task = port.next_task(&mappings)) {
        mappings.age();
        self.run(*task);
        mappings.age();
    }
    flush_output();
    // Like Python's workers: no destructors of globals, which belong to the program's own end.
    ::_exit(0);
}

}  // namespace bulkhead::detail
