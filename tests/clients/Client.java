// One request with Java's HttpClient: prints the body, then the status on a line of its own.
// Usage: java Client.java METHOD URL BODY

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

class Client {
    public static void main(String[] arguments) throws Exception {
        var body = arguments[2].isEmpty()
            ? HttpRequest.BodyPublishers.noBody()
            : HttpRequest.BodyPublishers.ofString(arguments[2]);
        var request = HttpRequest.newBuilder(URI.create(arguments[1])).method(arguments[0], body).build();
        var answer = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(answer.body() + "\n" + answer.statusCode());
    }
}
