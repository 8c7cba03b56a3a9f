#include <bulkhead/asio.hpp>
#include <bulkhead/bulkhead.hpp>

#include <boost/asio.hpp>

#include <iostream>

int square(int x) { return x * x; }

boost::asio::awaitable<void> answer(bulkhead::process_pool& pool) {
    std::cout << co_await pool.async_submit(square, 7, boost::asio::use_awaitable) << '\n';
}

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool(2);
    boost::asio::io_context io;
    boost::asio::co_spawn(io, answer(pool), boost::asio::detached);
    io.run();
}
