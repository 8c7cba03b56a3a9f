// libzmq as a peer of queue<T>. Its C interface, looked up at run time: the library is no dependency.
#include "bench_figure.hpp"

#include <bulkhead/bulkhead.hpp>

#include <array>
#include <dlfcn.h>
#include <unistd.h>

namespace bulkhead::tools {
namespace {

// As in zmq.h, which is part of the library's stable interface.
constexpr int zmq_pull = 7;
constexpr int zmq_push = 8;
constexpr int zmq_linger = 17;
constexpr int zmq_receive_timeout = 27;

struct zmq_library {
    zmq_library() : handle(::dlopen("libzmq.so.5", RTLD_NOW | RTLD_LOCAL)) {
        if (handle == nullptr) return;
        find(make_context, "zmq_ctx_new");
        find(end_context, "zmq_ctx_term");
        find(make_socket, "zmq_socket");
        find(close_socket, "zmq_close");
        find(set_option, "zmq_setsockopt");
        find(bind, "zmq_bind");
        find(connect, "zmq_connect");
        find(send, "zmq_send");
        find(receive, "zmq_recv");
        find(last_error, "zmq_errno");
        find(text_of, "zmq_strerror");
    }
    template <class Function>
    void find(Function*& function, const char* name) const {
        function = reinterpret_cast<Function*>(::dlsym(handle, name));
        if (function == nullptr) throw std::runtime_error(std::string("libzmq has no ") + name);
    }

    void* handle;
    void* (*make_context)() = nullptr;
    int (*end_context)(void*) = nullptr;
    void* (*make_socket)(void*, int) = nullptr;
    int (*close_socket)(void*) = nullptr;
    int (*set_option)(void*, int, const void*, std::size_t) = nullptr;
    int (*bind)(void*, const char*) = nullptr;
    int (*connect)(void*, const char*) = nullptr;
    int (*send)(void*, const void*, std::size_t, int) = nullptr;
    int (*receive)(void*, void*, std::size_t, int) = nullptr;
    int (*last_error)() = nullptr;
    const char* (*text_of)(int) = nullptr;
};

const zmq_library& zmq() {
    static const zmq_library library;
    return library;
}

class zmq_socket {
public:
    explicit zmq_socket(int kind) : context_(zmq().make_context()) {
        socket_ = zmq().make_socket(context_, kind);
        set(zmq_linger, linger_ms);
        set(zmq_receive_timeout, linger_ms);
    }
    ~zmq_socket() {
        zmq().close_socket(socket_);
        zmq().end_context(context_);
    }
    zmq_socket(const zmq_socket&) = delete;
    zmq_socket& operator=(const zmq_socket&) = delete;

    void bind(const std::string& to) const { check("zmq_bind", zmq().bind(socket_, to.c_str())); }
    void connect(const std::string& to) const {
        check("zmq_connect", zmq().connect(socket_, to.c_str()));
    }
    template <class Message>
    void send(const Message& message) const {
        check("zmq_send", zmq().send(socket_, message.data(), message.size(), 0));
    }
    template <class Message>
    void receive(Message& message) const {
        check("zmq_recv", zmq().receive(socket_, message.data(), message.size(), 0));
    }

private:
    static constexpr int linger_ms = 30'000;  // in case the other side is gone

    void set(int option, int value) const {
        check("zmq_setsockopt", zmq().set_option(socket_, option, &value, sizeof value));
    }
    static void check(const char* call, int result) {
        if (result >= 0) return;
        throw std::runtime_error(std::string(call) + ": " + zmq().text_of(zmq().last_error()));
    }

    void* context_;
    void* socket_ = nullptr;
};

using message = std::array<char, 64>;

/// Stays until all have arrived: what is under way when a socket closes may be lost.
void push_messages(const std::string& name, const event& arrived, std::uint64_t count) {
    const zmq_socket to(zmq_push);
    to.connect(name);
    const message text{};
    for (std::uint64_t i = 0; i != count; ++i) to.send(text);
    (void)arrived.wait_for(std::chrono::seconds(30));
}

double pull_messages(const std::string& name, const event& bound, const event& arrived,
                     std::uint64_t count) {
    const zmq_socket from(zmq_pull);
    from.bind(name);
    bound.set();
    message text;
    from.receive(text);
    const stopwatch clock;
    for (std::uint64_t i = 1; i != count; ++i) from.receive(text);
    const double seconds = clock.seconds();
    arrived.set();
    return seconds;
}

double zmq_messages(double run_s) {
    process_pool pool({.workers = 2, .spare_workers = 0});
    int run = 0;
    return operations_per_second(run_s, unbounded, [&](std::uint64_t count) {
        // A name of the kernel's, without a file.
        const std::string name =
            "ipc://@bulkhead-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++run);
        const event bound;
        const event arrived;
        auto took_s = pool.submit(pull_messages, name, bound, arrived, count);
        bound.wait();
        auto pushed = pool.submit(push_messages, name, arrived, count);
        pushed.get();
        return took_s.get();
    });
}

}  // namespace

bool add_zmq_peer(std::vector<figure>& figures) {
    if (zmq().handle == nullptr) return false;
    for (figure& one : figures) {
        if (one.name != "queue-64") continue;
        one.contenders.push_back({"libzmq, PUSH and PULL", zmq_messages});
    }
    return true;
}

}  // namespace bulkhead::tools
