// Two producers and three consumers with a queue between them, each a process of its own. Whoever is killed
// leaves the queue usable.
#include <bulkhead/bulkhead.hpp>

#include <iostream>
#include <string>
#include <vector>

struct order {
    int customer = 0;
    std::string what{};
    int cents = 0;
};

void produce(const bulkhead::queue<order>& orders, int customer) {
    for (int i = 1; i <= 1000; ++i) orders.put({customer, "item " + std::to_string(i), i});
}

void consume(const bulkhead::queue<order>& orders, const bulkhead::queue<int>& turnover) {
    int cents = 0;
    for (const order& one : orders) cents += one.cents;  // until it is closed and empty
    turnover.put(cents);
}

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    const bulkhead::queue<order> orders({.capacity_bytes = 64 << 10});  // full producers wait
    const bulkhead::queue<int> turnover;
    std::vector<bulkhead::process> consumers;
    for (int i = 0; i != 3; ++i) consumers.emplace_back(consume, orders, turnover);
    {
        const bulkhead::process one(produce, orders, 1);
        const bulkhead::process two(produce, orders, 2);
    }  // both have ended
    orders.close();
    int cents = 0;
    for (auto& consumer : consumers) {
        consumer.join();
        cents += turnover.get();
    }
    std::cout << cents << " cents\n";
    //> 1001000 cents
}
