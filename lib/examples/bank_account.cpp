// One account, four processes that pay in a thousand times each, three ways to keep its balance right.
#include <bulkhead/bulkhead.hpp>

#include <iostream>
#include <mutex>
#include <vector>

constexpr int payments = 1000;

// 1. The value and its lock are one: nobody can forget to lock.
void pay_guarded(const bulkhead::guarded<int>& balance) {
    for (int i = 0; i != payments; ++i) balance.with_lock([](int& b) { ++b; });
}

// 2. A lock and a bare value, as in a program with threads.
void pay_locked(const bulkhead::mutex& lock, const bulkhead::shared_value<int>& balance) {
    for (int i = 0; i != payments; ++i) {
        const std::scoped_lock held(lock);
        ++*balance;
    }
}

// 3. One process owns the account; the others send it messages.
void pay_by_message(const bulkhead::queue<int>& paid_in) {
    for (int i = 0; i != payments; ++i) paid_in.put(1);
}
void keep_account(const bulkhead::queue<int>& paid_in, const bulkhead::queue<int>& balance) {
    int sum = 0;
    for (const int amount : paid_in) sum += amount;
    balance.put(sum);
}

template <class... A>
void run_four(void (*function)(A...), const std::decay_t<A>&... arguments) {
    std::vector<bulkhead::process> all;
    for (int i = 0; i != 4; ++i) all.emplace_back(function, arguments...);
}  // waits for them

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    const bulkhead::guarded<int> guarded(0);
    run_four(pay_guarded, guarded);
    std::cout << "guarded: " << guarded.with_lock([](int& b) { return b; }) << '\n';

    const bulkhead::mutex lock;
    const bulkhead::shared_value<int> value(0);
    run_four(pay_locked, lock, value);
    std::cout << "locked: " << *value << '\n';

    const bulkhead::queue<int> paid_in;
    const bulkhead::queue<int> balance;
    const bulkhead::process keeper(keep_account, paid_in, balance);
    run_four(pay_by_message, paid_in);
    paid_in.close();
    std::cout << "by message: " << balance.get() << '\n';
    //> guarded: 4000
    //> locked: 4000
    //> by message: 4000
}
