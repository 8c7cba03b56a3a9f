// A tour for those who come from Python: each piece is one function to copy, headed by the Python
// it stands for. The comments that start with > are what it prints; a test compares them.
#include <bulkhead/bulkhead.hpp>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <mutex>
#include <ranges>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

/// Flushes: parent and children write to the same place, and one's lines shall not wait in a buffer
/// while the other's overtake them.
void say(const std::string& line) { std::cout << line << std::endl; }

// ---- what the tasks are: ordinary functions ----------------------------------------------------

int square(int x) { return x * x; }

/// Returns the line instead of printing it: three workers would print theirs in any order.
std::string print_data(int value) { return "data " + std::to_string(value); }

void hello(int number) { say("process " + std::to_string(number)); }

// ---- process_pool as an executor ---------------------------------------------------------------

/// Python: with ProcessPoolExecutor(3) as pool: print(pool.submit(square, 7).result())
void submit_to_processes() {
    bulkhead::process_pool pool(3);
    bulkhead::future<int> result = pool.submit(square, 7);
    say(std::to_string(result.get()));
    //> 49
}

/// Python: for line in ProcessPoolExecutor(3).map(print_data, range(10)): print(line)
void map_over_processes() {
    bulkhead::process_pool pool(3);
    for (const std::string& line : pool.map(print_data, std::views::iota(0, 10))) say(line);
    //> data 0
    //> data 1
    //> data 2
    //> data 3
    //> data 4
    //> data 5
    //> data 6
    //> data 7
    //> data 8
    //> data 9
}

/// Python: pool.shutdown(wait=True), pool.shutdown(wait=False)
void shut_processes_down() {
    bulkhead::process_pool pool(3);
    auto before = pool.submit(square, 8);
    pool.shutdown();  // waits for every task
    say(before.done() ? "done: " + std::to_string(before.get()) : "not done");
    //> done: 64

    bulkhead::process_pool other(3);
    auto still_running = other.submit(square, 9);
    other.shutdown({.wait = false});  // returns at once; what was submitted is still done
    try {
        (void)other.submit(square, 10);
    } catch (const bulkhead::pool_closed&) {
        say("closed");
    }
    say(std::to_string(still_running.get()));
    //> closed
    //> 81
}

// ---- thread_pool: the same in threads ----------------------------------------------------------

/// Python: with ThreadPoolExecutor(3) as pool: print(pool.submit(square, 7).result())
void submit_to_threads() {
    bulkhead::thread_pool pool(3);
    bulkhead::future<int> result = pool.submit(square, 7);
    say(std::to_string(result.get()));
    //> 49
}

/// Python: for line in ThreadPoolExecutor(3).map(print_data, range(10)): print(line)
void map_over_threads() {
    bulkhead::thread_pool pool(3);
    for (const std::string& line : pool.map(print_data, std::views::iota(0, 10))) say(line);
    //> data 0
    //> data 1
    //> data 2
    //> data 3
    //> data 4
    //> data 5
    //> data 6
    //> data 7
    //> data 8
    //> data 9
}

/// Python: pool.shutdown(wait=True), pool.shutdown(wait=False)
void shut_threads_down() {
    bulkhead::thread_pool pool(3);
    auto before = pool.submit(square, 8);
    pool.shutdown();
    say(before.done() ? "done: " + std::to_string(before.get()) : "not done");
    //> done: 64

    bulkhead::thread_pool other(3);
    auto still_running = other.submit(square, 9);
    other.shutdown({.wait = false});
    say(std::to_string(still_running.get()));
    //> 81
}

// ---- single processes --------------------------------------------------------------------------

/// Python: p = Process(target=hello, args=(i,)); p.start(); p.join()
void ten_processes_in_turn() {
    for (int i = 0; i != 10; ++i) {
        bulkhead::process p(hello, i);  // starts
        p.join();                       // the destructor would do it, too
    }
    //> process 0
    //> process 1
    //> process 2
    //> process 3
    //> process 4
    //> process 5
    //> process 6
    //> process 7
    //> process 8
    //> process 9
}

// ---- process_pool as Pool ----------------------------------------------------------------------

/// Python: results = [pool.apply_async(square, (i,)) for i in range(10)]; pool.close(); pool.join()
void apply_ten_times() {
    bulkhead::process_pool pool(3);
    std::vector<bulkhead::future<int>> results;
    for (int i = 0; i != 10; ++i) results.push_back(pool.submit(square, i));
    pool.close();  // no more tasks
    pool.join();   // all are done
    std::string line;
    for (auto& result : results) line += std::to_string(result.get()) + ' ';
    say(line + "end");
    //> 0 1 4 9 16 25 36 49 64 81 end
}

// ---- queues between processes ------------------------------------------------------------------

/// A queue that is an argument is the same queue in the other process.
void write_numbers(const bulkhead::queue<int>& numbers) {
    for (int i = 0; i != 10; ++i) numbers.put(i);
    numbers.close();  // Python puts None; this ends every reader, however many there are
}

void read_numbers(const bulkhead::queue<int>& numbers) {
    std::string line;
    for (const int number : numbers) line += std::to_string(number) + ' ';
    say(line + "end");
}

/// Python: q = Queue(); Process(target=write_numbers, args=(q,)), and one for read_numbers
void writer_and_reader() {
    const bulkhead::queue<int> numbers;
    bulkhead::process writer(write_numbers, numbers);
    bulkhead::process reader(read_numbers, numbers);
    writer.join();
    reader.join();
    //> 0 1 2 3 4 5 6 7 8 9 end
}

/// Python: q = Queue(maxsize=...), which counts messages; this bound is in bytes
void bounded_queue() {
    const bulkhead::queue<int> large({.capacity_bytes = 256 << 20});
    say(std::to_string(large.capacity_bytes() >> 20) + " MiB");
    //> 256 MiB

    const bulkhead::queue<std::string> small({.capacity_bytes = 10});
    small.put("123456789");
    say(small.try_put("abcdefgh") ? "taken" : "full");  // put() would wait for a reader
    say(small.get());
    //> full
    //> 123456789
}

// ---- threads -----------------------------------------------------------------------------------

/// Python: t = threading.Thread(target=..., args=(i,)); t.start(); t.join()
void ten_threads_in_turn() {
    for (int i = 0; i != 10; ++i) {
        std::jthread t([i] { say("thread " + std::to_string(i)); });  // starts
        t.join();                                                     // so would the destructor
    }
    //> thread 0
    //> thread 1
    //> thread 2
    //> thread 3
    //> thread 4
    //> thread 5
    //> thread 6
    //> thread 7
    //> thread 8
    //> thread 9

    // Beside it: threads that are reused, and tasks that give something back.
    bulkhead::thread_pool pool(1);
    std::vector<bulkhead::future<std::string>> lines;
    for (int i = 0; i != 3; ++i) {
        lines.push_back(pool.submit([i] { return "pooled " + std::to_string(i); }));
    }
    for (auto& line : lines) say(line.get());
    //> pooled 0
    //> pooled 1
    //> pooled 2
}

// ---- locks -------------------------------------------------------------------------------------

/// Python: lock = threading.Lock(); with lock: balance += n; balance -= n
void two_threads_one_balance() {
    int balance = 0;
    bulkhead::mutex lock;
    const auto change = [&balance, lock](int amount) {
        for (int i = 0; i != 1000; ++i) {
            const std::scoped_lock hold(lock);
            balance += amount;
            balance -= amount - 1;
        }
    };
    {
        std::jthread first(change, 5);
        std::jthread second(change, 8);
    }
    say("two threads: " + std::to_string(balance));
    //> two threads: 2000
}

int own_balance = 0;

void change_own_balance(int amount) {
    for (int i = 0; i != 1000; ++i) own_balance += amount;
    say("in the process: " + std::to_string(own_balance));
}

/// Python: the same with Process and a global: each process changes its own copy
void every_process_has_its_own_copy() {
    bulkhead::process(change_own_balance, 5).join();
    bulkhead::process(change_own_balance, 8).join();
    say("in the parent: " + std::to_string(own_balance));
    //> in the process: 5000
    //> in the process: 8000
    //> in the parent: 0
}

void change_balance(const bulkhead::guarded<int>& balance, int amount) {
    for (int i = 0; i != 1000; ++i) {
        balance.with_lock([amount](int& b) {
            b += amount;
            b -= amount - 1;
        });
    }
}

/// Python: balance = Value('i', 0); with balance.get_lock(): balance.value += n
void two_processes_one_balance() {
    const bulkhead::guarded<int> balance(0);  // in shared memory, with its lock
    {
        bulkhead::process first(change_balance, balance, 5);
        bulkhead::process second(change_balance, balance, 8);
    }
    say("two processes: " + std::to_string(balance.get()));
    //> two processes: 2000
}

void change_file(const bulkhead::mutex& lock, const std::filesystem::path& file) {
    for (int i = 0; i != 1000; ++i) {
        const std::scoped_lock hold(lock);
        int balance = 0;
        std::ifstream(file) >> balance;
        std::ofstream(file) << balance + 1;
    }
}

/// Python: lock = multiprocessing.Lock(): for what is not in memory, here a file
void two_processes_one_file() {
    const auto file = std::filesystem::temp_directory_path() /
                      ("seed_tour-" + std::to_string(::getpid()) + ".txt");
    const bulkhead::mutex lock;
    {
        bulkhead::process first(change_file, lock, file);
        bulkhead::process second(change_file, lock, file);
    }
    int balance = 0;
    std::ifstream(file) >> balance;
    std::filesystem::remove(file);
    say("in the file: " + std::to_string(balance));
    //> in the file: 2000
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);  // a worker is this program again, and goes no further than here

    submit_to_processes();
    map_over_processes();
    shut_processes_down();

    submit_to_threads();
    map_over_threads();
    shut_threads_down();

    ten_processes_in_turn();
    apply_ten_times();

    writer_and_reader();
    bounded_queue();

    ten_threads_in_turn();

    two_threads_one_balance();
    every_process_has_its_own_copy();
    two_processes_one_balance();
    two_processes_one_file();
}
