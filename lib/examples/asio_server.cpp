// A TCP service that answers each line with the sum of its numbers. Lines are parsed in worker
// processes: one that crashes the parser, or keeps it for more than a second, costs its own answer.
#include <bulkhead/asio.hpp>
#include <bulkhead/bulkhead.hpp>

#include <boost/asio.hpp>

#include <iostream>
#include <sstream>
#include <thread>

namespace asio = boost::asio;
using namespace std::chrono_literals;
using asio::use_awaitable;

/// Good at sums, with two bugs.
std::string parse(const std::string& line) {
    if (line == "crash") *static_cast<volatile int*>(nullptr) = 1;
    while (line == "hang") std::this_thread::sleep_for(1h);
    std::istringstream words(line);
    long sum = 0;
    for (std::string word; words >> word;) sum += std::stol(word);
    return std::to_string(sum);
}

asio::awaitable<void> serve(asio::ip::tcp::socket client, bulkhead::process_pool& pool) try {
    for (std::string in, answer;; answer += '\n') {
        co_await asio::async_write(client, asio::buffer(answer), use_awaitable);
        const auto end = co_await asio::async_read_until(client, asio::dynamic_buffer(in, 65536),
                                                         '\n', use_awaitable);
        const std::string line = in.substr(0, end - 1);
        in.erase(0, end);
        try {
            answer = co_await pool.async_submit(parse, line, use_awaitable);
        } catch (const bulkhead::worker_crashed& crash) {
            answer = "the parser " + crash.status().to_string();
        } catch (const std::exception& failure) {
            answer = failure.what();
        }
    }
} catch (const boost::system::system_error&) {  // the client has left
}

asio::awaitable<void> listen(asio::ip::tcp::acceptor& port, bulkhead::process_pool& pool) {
    for (const auto io = port.get_executor();;) {
        asio::co_spawn(io, serve(co_await port.async_accept(use_awaitable), pool), asio::detached);
    }
}

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool({.workers = 2, .task_timeout = 1s});
    asio::io_context io;
    asio::ip::tcp::acceptor port(io, {asio::ip::address_v4::loopback(), 0});
    std::cout << "port " << port.local_endpoint().port() << std::endl;
    asio::signal_set stop(io, SIGINT, SIGTERM);
    stop.async_wait([&](auto...) { io.stop(); });
    asio::co_spawn(io, listen(port, pool), asio::detached);
    io.run();
}
