// A task's whole way, but for processes and threads: encoded, queued, decided on, posted, run, published,
// collected, resolved and taken. Both sides are in this process, one after the other, so that the
// instructions can be counted (tests/guards/cost): the same ones each time.
#include "channel/compartment.hpp"
#include "channel/worker_port.hpp"
#include "fsm/scheduler.hpp"
#include "pool/remote_task.hpp"

#include <bulkhead/task.hpp>

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <map>
#include <string>
#include <vector>

namespace {

using namespace bulkhead;
using namespace bulkhead::detail;

std::int64_t square(std::int64_t x) { return x * x; }

/// What worker_main's context does for a task that neither throws nor asks.
class plain_context final : public task_context {
public:
    explicit plain_context(channel::worker_port& port) : port_(port) {}
    void enter(task_phase phase) override { port_.enter(phase); }
    std::stop_token stop_token() override { std::abort(); }
    bool begin_item() override { std::abort(); }
    void item_failed() override { std::abort(); }
    bool end_item() override { std::abort(); }
    [[noreturn]] void leave_fork() override { std::abort(); }
    flat_block& begin_flat(std::size_t, std::size_t) override { std::abort(); }
    bool flat_item_failed(std::size_t) override { std::abort(); }

private:
    channel::worker_port& port_;
};

class both_sides {
public:
    both_sides() : scheduler_(1, {}) {
        std::vector<int> fds;
        for (const int fd : parent_.worker_fds()) fds.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
        worker_.emplace(fds);
        parent_.launched();
        scheduler_.starting(0);
        scheduler_.ready(0);
    }

    void submit(std::int64_t x) {
        using call = task_of<decltype(&square), std::int64_t>::call;
        task_encoder arguments;
        call::encode_function(arguments, &square);
        call::encode_arguments(arguments, x);
        auto& task = tasks_.emplace_back(new remote_task(
            {}, {.entry = call::entry()}, task_options{}, std::chrono::nanoseconds(0)));
        auto& node = static_cast<remote_task&>(*task);
        node.set_arguments(arguments);
        scheduler_.submitted(node);
        hand_out();
    }

    void hand_out() {
        while (const auto handed = scheduler_.next()) {
            auto& task = static_cast<remote_task&>(*handed->task);
            channel::task_envelope envelope;
            envelope.entry = task.what.entry;
            envelope.chunk = envelope.timed = 0;
            envelope.takes_stop_token = 0;
            if (!parent_.place_arguments(task.bytes, envelope)) std::abort();
            task.ticket = parent_.post(envelope);
            ++posted_;
            task.placed_where = envelope.where;
            task.placed_offset = envelope.offset;
        }
    }

    void work() {
        const auto* task = worker_->next_task();
        plain_context context(*worker_);
        task_encoder out(&*worker_);
        decoder in(worker_->arguments());
        reinterpret_cast<task_entry>(resolve(task->entry))(in, out, context);
        worker_->finish(channel::result_kind::value, out.bytes(), nullptr);
    }

    std::int64_t collect() {
        std::uint64_t ticket = 0;
        channel::result_envelope envelope;
        if (parent_.collect(ticket, envelope) != channel::harvest::result) std::abort();
        auto bytes = parent_.result_bytes(ticket, envelope);
        auto& task = static_cast<remote_task&>(*scheduler_.ledger(0).front());
        parent_.release_result(ticket, envelope);
        parent_.settled(ticket);
        scheduler_.finished(task, envelope.run_ns);
        task.set_result(channel::result_kind::value, std::move(bytes), 0, envelope.run_ns);
        --posted_;
        (void)task.publish();
        if (!task.seal_callbacks()) std::abort();
        std::optional<std::int64_t> value;
        task.take(
            [](decoder& in, void* out) {
                static_cast<std::optional<std::int64_t>*>(out)->emplace(in.read<std::int64_t>());
            },
            &value);
        return *value;
    }
    void forget() { tasks_.clear(); }
    /// And not collected.
    [[nodiscard]] int posted() const noexcept { return posted_; }

private:
    channel::compartment parent_;
    std::optional<channel::worker_port> worker_;
    fsm::scheduler scheduler_;
    std::vector<state_ptr> tasks_;
    int posted_ = 0;
};

/// Where the time goes, for whoever asks.
class phases {
public:
    explicit phases(bool wanted) : wanted_(wanted) {}
    template <class Do>
    void time(const char* name, const Do& work) {
        if (!wanted_) {
            work();
            return;
        }
        const auto start = std::chrono::steady_clock::now();
        work();
        spent_[name] += std::chrono::steady_clock::now() - start;
    }
    void print(std::int64_t tasks) const {
        for (const auto& [name, time] : spent_) {
            std::cout << name << ": " << std::chrono::nanoseconds(time).count() / tasks << " ns\n";
        }
    }

private:
    bool wanted_;
    std::map<std::string, std::chrono::steady_clock::duration> spent_;
};

}  // namespace

/// task_path ROUNDS [time]
int main(int argc, char** argv) {
    const int rounds = argc > 1 ? std::atoi(argv[1]) : 1;
    constexpr int tasks = 100;
    phases spent(argc > 2);
    both_sides sides;
    bool right = true;
    for (int round = 0; round != rounds; ++round) {
        spent.time("1 encode, queue, decide, post", [&] {
            for (std::int64_t i = 0; i != tasks; ++i) sides.submit(i);
        });
        // As many at a time as the scheduler wants to have at the worker.
        for (std::int64_t done = 0; done != tasks;) {
            const std::int64_t end = done + sides.posted();
            spent.time("2 worker: take, decode, run, encode, publish", [&] {
                for (std::int64_t i = done; i != end; ++i) sides.work();
            });
            spent.time("3 collect, check, resolve, take", [&] {
                for (; done != end; ++done) right = right && sides.collect() == done * done;
            });
            spent.time("1 encode, queue, decide, post", [&] { sides.hand_out(); });
        }
        spent.time("4 free", [&] { sides.forget(); });
    }
    spent.print(std::int64_t{rounds} * tasks);
    return right ? 0 : 1;
}
