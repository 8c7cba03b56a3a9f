// The yardstick of one_task.cpp: the same with the standard library alone.
#include <algorithm>
#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

int square(int x) { return x * x; }

int main() { return std::async(std::launch::async, square, 7).get(); }
